// Requests to our own server: JSON answers, RFC 9457 problems as errors, a stale CSRF token fetched anew once.
const csrf = document.querySelector('meta[name="csrf-token"]');

export class ProblemError extends Error {
  constructor(problem, status, retryAfter) {
    super(problem.detail || "Something went wrong.");
    this.kind = (problem.type || "").replace("urn:problem:", "");
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

async function answerOf(response) {
  if (response.ok) return response.status === 204 ? null : response.json();
  const problem = await response.json().catch(() => ({}));
  throw new ProblemError(problem, response.status, Number(response.headers.get("Retry-After")) || 0);
}

export async function get(url, accept = "application/json") {
  const response = await fetch(url, { headers: { Accept: accept } });
  return accept === "application/json" ? answerOf(response) : response.ok ? response.text() : answerOf(response);
}

export async function post(url, form, retry = true) {
  const response = await fetch(url, {
    method: "POST",
    body: new URLSearchParams(form),
    headers: { Accept: "application/json", "X-CSRFToken": csrf.content },
  });
  try {
    return await answerOf(response);
  } catch (error) {
    if (error.kind !== "csrf" || !retry) throw error;
    csrf.content = (await get("/account/csrf")).token;
    form.delete("csrf_token");
    return post(url, form, false);
  }
}
