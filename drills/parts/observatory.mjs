// node observatory.mjs TOOLS HOST:PORT PATH: one page as MDN's HTTP Observatory and Google's CSP Evaluator see it, as JSON.
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [tools, host, path] = process.argv.slice(2);
const installed = join(tools, "node_modules");
const require = createRequire(join(tools, "package.json"));
const { scan } = await import(pathToFileURL(join(installed, "@mdn/mdn-http-observatory/src/scanner/index.js")));
const { CspEvaluator } = require("csp_evaluator/dist/evaluator.js");
const { CspParser } = require("csp_evaluator/dist/parser.js");
const { Severity } = require("csp_evaluator/dist/finding.js");

const url = `https://${host}${path}`;
const answer = await fetch(url, { redirect: "manual", headers: { accept: "text/html" } });
const page = await answer.text();
const title = /<title>\s*(.*?)\s*<\/title>/s.exec(page)?.[1] ?? "";
const policy = new CspParser(answer.headers.get("content-security-policy") ?? "").csp;
const findings = new CspEvaluator(policy).evaluate();
const result = await scan(`${host}${path}`);
const tests = Object.entries(result.tests).map(([name, test]) => [name, test.pass, test.result, test.scoreModifier]);
console.log(JSON.stringify({
  url, title, tests, signed_in: page.includes("/logout"),
  status: result.scan.statusCode, grade: result.scan.grade, score: result.scan.score,
  csp: findings.map(({ severity, directive, value, description }) => [
    Severity[severity], severity, `${directive} ${value ?? ""}: ${description}`,
  ]),
  info: Severity.INFO,
}));
