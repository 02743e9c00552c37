// The API, as the views call it: a path and parameters go out, the answer or one sentence comes back. What did not
// change is not sent again (ETag).

import { session } from './session.js';

const REMEMBERED_MAX = 100;
const TIMEOUT_MS = 15_000;
const UNSENDABLE = /[^\t -~\x80-\xff]/; // in a header: `fetch` fails then as it does where nobody answers
const base = new URL('../../../', import.meta.url); // of the dashboard: its assets lie in assets/VERSION/lib/
const meta = (name) => document.querySelector(`meta[name="sa-${name}"]`)?.content;
const remembered = new Map();

export const dashboardPath = base.pathname;
const apiBase = new URL(meta('api') ?? '../', base);
const healthUrl = meta('health') ? new URL(meta('health'), base) : null;

/** An answer that is none. status 0: nobody answered. */
export class Api_Error extends Error {
  constructor(status, message, retry_s = null) {
    super(message);
    this.status = status;
    this.retry_s = retry_s;
  }
}

/** Address of an API path with its parameters; those without a value are left out. */
export function addressOf(path, parameters = {}) {
  const url = new URL(path, apiBase);
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== '') url.searchParams.set(name, value);
  }
  return url;
}

/** GET under `/api/sa/`. Raises Api_Error. */
export const get = (path, parameters) => read(addressOf(path, parameters));

/** Everything that is known of this process; null where a host has no such address. It answers also when not ready. */
export const health = () => (healthUrl ? read(healthUrl) : Promise.resolve(null));

async function read(url) {
  const known = remembered.get(url.href);
  const headers = { accept: 'application/json' };
  if (UNSENDABLE.test(session.key)) throw new Api_Error(401, 'The key has a character that is in none: copy it again.');
  if (session.key) headers['x-api-key'] = session.key;
  if (known) headers['if-none-match'] = known.etag;
  const answer = await sent(url, headers);
  if (answer.status === 304 && known) return known.body;
  const body = await bodyOf(answer);
  if (!answer.ok) throw new Api_Error(answer.status, sentence(answer, body), Number(answer.headers.get('retry-after')));
  const etag = answer.headers.get('etag');
  remembered.delete(url.href);
  if (etag) remembered.set(url.href, { etag, body });
  if (remembered.size > REMEMBERED_MAX) remembered.delete(remembered.keys().next().value);
  return body;
}

async function sent(url, headers) {
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    return await fetch(url, { headers, signal, cache: 'no-store', credentials: 'same-origin' });
  } catch {
    throw new Api_Error(0, 'The server did not answer.'); // whatever the browser calls it: there is no answer
  }
}

async function bodyOf(answer) {
  try {
    return await answer.json();
  } catch {
    throw new Api_Error(answer.status, `The server answered ${answer.status} with something that is not JSON.`);
  }
}

function sentence(answer, body) {
  const said = body?.detail ?? body?.message;
  return typeof said === 'string' && said ? said : `The server answered ${answer.status}.`;
}
