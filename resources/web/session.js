/* Who sits here: a key, put in once, becomes a cookie that no script can read. */

import { ask, hold, raw, fault as faultOf } from "./api.js";
import { copy, say } from "./dom.js";

let wanted = false;

/** Whether a key has to be put in first. */
export const needsKey = () => wanted;

/** Asks the server who sits here, and shows it. */
export async function who() {
	const response = await raw("GET", "session");
	wanted = response.status === 401;
	if (!response.ok && !wanted) throw faultOf(response.status, await response.text());
	const { name, scopes } = wanted ? { name: null, scopes: [] } : await response.json();
	hold(scopes);
	const place = document.getElementById("who");
	place.hidden = name === null;
	say(place, { name });
}

document.addEventListener("nokey", () => {
	wanted = true;
	hold([]);
	document.getElementById("who").hidden = true;
});

document.querySelector('[data-do="leave"]').addEventListener("click", async () => {
	await ask("DELETE", "session").catch(() => {});
	document.dispatchEvent(new CustomEvent("nokey"));
});

/** Where a key is put in. */
export function keyView() {
	const node = copy("key");
	const key = node.elements.key;
	node.addEventListener("submit", async (event) => {
		event.preventDefault();
		const error = node.querySelector("#key-error");
		error.textContent = "";
		try {
			const response = await raw("POST", "session", { body: { key: key.value } });
			if (!response.ok) {
				const refused = faultOf(response.status, await response.text());
				// The server's own words are about headers, which nobody sets here.
				throw response.status === 401 ? { detail: "That key is none of this server's, or was revoked." } : refused;
			}
			key.value = "";
			await who();
			document.dispatchEvent(new CustomEvent("session"));
		} catch (refused) {
			error.textContent = refused.detail;
			key.setAttribute("aria-invalid", "true");
			key.focus();
		}
	});
	return { node, title: "Sign in", run: () => key.focus() };
}
