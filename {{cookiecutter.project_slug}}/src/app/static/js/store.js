// What this browser keeps for when there is no network: "outbox", messages not yet sent, and "kept", values by name.
const MODES = { get: "readonly", getAll: "readonly" };
let opening;

function open() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("app", 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("outbox", { keyPath: "order", autoIncrement: true });
      request.result.createObjectStore("kept");
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opening;
}

// One operation of an object store: get, getAll, put, delete or clear.
export async function ask(store, operation, ...values) {
  const database = await open();
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(store, MODES[operation] ?? "readwrite");
    const request = transaction.objectStore(store)[operation](...values);
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = () => reject(transaction.error);
  });
}

export async function forgetAll() {
  await ask("outbox", "clear");
  await ask("kept", "clear");
}
