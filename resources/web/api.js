/*
 * The server's API. Paths are relative to the page, so that it works behind a proxy that adds one.
 * What the server describes (openapi.json) decides what the page offers: what is not described, or
 * asks for a scope that the key does not have, is not shown.
 */

/** How long an answer may take to begin. */
const PATIENCE = 30_000;

/** What went wrong, as the server says it; `status` 0 when it could not be reached. */
export class Fault extends Error {
	constructor(status, problem) {
		super(problem.detail ?? problem.title);
		Object.assign(this, { status, problem, title: problem.title, detail: problem.detail });
	}
}

/** A path as this page reaches it. */
export const here = (path) => path.replace(/^\//, "");

/** Fills a path's names in. */
export const fill = (path, names) => path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(names[name]));

/** A refusal's words, whatever form they came in. */
export function fault(status, text) {
	try {
		const problem = JSON.parse(text);
		if (problem?.title) return new Fault(status, problem);
	} catch { /* a proxy may answer what is no JSON */ }
	return new Fault(status, { title: `The server answered ${status}`, detail: "It did not say why." });
}

/**
 * Asks, and answers the JSON, or nothing where there is none. Told of elsewhere as well: an answer
 * of 401 (`nokey`). An aborted `signal` rejects with its AbortError.
 */
export async function ask(method, path, { body, signal } = {}) {
	const response = await raw(method, path, { body, signal });
	if (!response.ok) {
		const refused = fault(response.status, await response.text());
		if (response.status === 401) document.dispatchEvent(new CustomEvent("nokey"));
		throw refused;
	}
	return response.status === 204 ? null : response.json();
}

/** Asks, and answers whatever came. */
export async function raw(method, path, { body, signal } = {}) {
	const signals = [AbortSignal.timeout(PATIENCE), signal].filter(Boolean);
	const init = { method, signal: AbortSignal.any(signals), headers: { accept: "application/json" } };
	if (body !== undefined) {
		init.body = JSON.stringify(body);
		init.headers["content-type"] = "application/json";
	}
	try {
		return await fetch(here(path), init);
	} catch (error) {
		if (signal?.aborted) throw error;
		throw new Fault(0, { title: "The server cannot be reached", detail: "Nothing is lost: what it has taken, it keeps." });
	}
}

let described = {};
let scopes = new Set();

/** Reads what the server does, once. */
export async function learn() {
	described = (await ask("GET", "openapi.json")).paths;
}

/** From now on these scopes are held. */
export function hold(held) {
	scopes = new Set(held);
}

const operation = (method, path) => described[path]?.[method.toLowerCase()];

/** Whether the server does that, and for whoever sits here. */
export function can(method, path) {
	const found = operation(method, path);
	if (!found) return false;
	const asked = (found.security ?? []).map((one) => one.session ?? one.key ?? []);
	return asked.some((one) => one.every((scope) => scopes.has(scope) || scopes.has("admin")));
}

/** Whether an operation takes this parameter. */
export const takes = (method, path, name) =>
	(operation(method, path)?.parameters ?? []).some((parameter) => parameter.name === name);

/** The described paths that begin so, with what follows. */
export const pathsAfter = (start) =>
	Object.keys(described).filter((path) => path.startsWith(start)).map((path) => path.slice(start.length));
