/*
 * What is taken back: the files that the server describes for an upload. One that has to be built
 * first is asked for until it is there; then the browser fetches it itself, to disk.
 */

import { can, fault, fill, here, pathsAfter, raw } from "./api.js";
import { button, make, part, write } from "./dom.js";
import { count, number } from "./format.js";

const NAMES = { results: "Results", failures: "Failures" };

/** The downloads of an upload, in its view; `tell` it whether the upload is over. */
export function downloads(view, id, signal) {
	const place = part(view, "downloads");
	const state = part(view, "downloadState");
	const start = "/uploads/{id}/";
	const offered = pathsAfter(start)
		.filter((file) => /^(results|failures)\.\w+$/.test(file) && can("GET", start + file))
		.sort((a, b) => order(a) - order(b));
	let ended = null;
	place.replaceChildren(...offered.map((file) => {
		const [kind, form] = file.split(".");
		const chosen = button(`${NAMES[kind]} as ${form}`, async () => {
			chosen.disabled = true;
			try {
				await take(fill(start + file, { id }), (text) => write(state, text), signal);
			} catch (refused) {
				if (!signal.aborted) write(state, refused.detail ?? refused.message);
			}
			chosen.disabled = false;
		});
		return chosen;
	}));
	return {
		// A file of what is still going on is out of date when it has come.
		tell(over) {
			if (over === ended) return;
			ended = over;
			part(view, "take").hidden = !over || offered.length === 0;
			write(state, "");
		},
	};
}

/** What people want first comes first. */
const order = (file) => ["results.xlsx", "failures.xlsx", "results.csv", "results.ndjson"].indexOf(file) >>> 0;

async function take(path, told, signal) {
	for (;;) {
		const answer = await raw("GET", path, { signal });
		if (answer.status === 200) {
			await answer.body?.cancel();
			break;
		}
		if (answer.status !== 202) throw fault(answer.status, await answer.text());
		const { rows_done: done, rows_total: all } = await answer.json().catch(() => ({}));
		const far = all ? `: ${number(done)} of ${count(all, "row")}` : "";
		told(`The file is being written${far}. The download begins by itself.`);
		const seconds = Number(answer.headers.get("retry-after")) || 1;
		await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
	}
	told("The download has begun.");
	const link = make("a", { href: here(path), download: "", class: "unseen" });
	document.body.append(link);
	link.click();
	link.remove();
}
