/* The list of uploads, newest first, and the place where files are given. */

import { ask, can, fill } from "./api.js";
import { bar, ended, partsOf, status, tell } from "./bars.js";
import { copy, empty, keep, loading, part, problem, say } from "./dom.js";
import { takeFiles } from "./drop.js";
import { count, number, percent, when } from "./format.js";
import { follow } from "./link.js";

export function uploadsView() {
	const node = copy("uploads");
	return { node, title: "Uploads", run: (signal) => run(node, signal) };
}

function run(node, signal) {
	takeFiles(node, signal);
	const state = part(node, "state");
	const list = part(node, "list");
	const more = node.querySelector('[data-do="more"]');
	const uploads = new Map();
	// Uploads that the stream told of and the list did not: each is looked for once.
	const strange = new Set();
	let next = null;
	let paged = false;

	if (!can("GET", "/uploads")) {
		return empty(state, "Uploads are not shown", "The key may send files, but not look at what became of them.");
	}

	const draw = () => {
		if (uploads.size > 0) state.replaceChildren();
		else empty(state, "No uploads yet", "The first file that you drop above appears here.");
		const newest = [...uploads.values()].sort((a, b) => (a.timings.received_at < b.timings.received_at ? 1 : -1));
		keep(list, newest, { id: ({ id }) => id, born, tell: card });
		more.hidden = !next;
	};
	const page = async (after) => {
		const found = await ask("GET", `uploads?limit=20${after ? `&after=${after}` : ""}`, { signal });
		// What was deleted elsewhere is gone; pages that were asked for stay.
		if (!after && !paged) uploads.clear();
		for (const upload of found.data) uploads.set(upload.id, upload);
		return found.next;
	};
	more.addEventListener("click", async () => {
		more.disabled = true;
		try {
			next = await page(next);
			paged = true;
			draw();
		} catch (fault) {
			if (!signal.aborted) problem(state, fault);
		}
		more.disabled = false;
	});

	loading(state);
	follow({
		signal,
		look: async () => {
			const after = await page(null);
			if (!paged) next = after;
			draw();
		},
		streams: () => ["events", {
			uploads: ({ data }) => {
				const unknown = data.some(({ id }) => !uploads.has(id) && !strange.has(id) && strange.add(id));
				for (const now of data) if (uploads.has(now.id)) uploads.set(now.id, { ...uploads.get(now.id), ...now });
				draw();
				return unknown ? "over" : undefined;
			},
		}],
		fail: (fault) => fault.status === 401 || problem(state, fault, () => run(node, signal)),
	});
}

function born(upload) {
	const node = copy("upload-card");
	const link = part(node, "link");
	link.href = fill("#/uploads/{id}", upload);
	link.textContent = upload.filename;
	node.bar = bar(`${upload.filename}: processed`);
	part(node, "bar").append(node.bar);
	return node;
}

function card(node, upload) {
	const { counts } = upload;
	status(part(node, "status"), upload);
	const over = ended(counts);
	const far = percent(over, counts.copies);
	const words = sentence(upload);
	const parts = upload.status === "failed" ? [["dead", 1]] : partsOf(counts);
	tell(node.bar, parts, upload.status === "ingesting" && over === 0 ? null : far, words);
	say(node, { counts: words });
	when(part(node, "when"), upload.timings.received_at);
}

/** How an upload stands, in a line. */
function sentence({ status, counts, problem }) {
	if (status === "failed") return problem?.detail ?? "Nothing of it was published";
	const parts = [];
	if (status === "ingesting") parts.push(`${count(counts.read, "row")} read so far`);
	else parts.push(`${number(counts.done)} of ${count(counts.copies, "row")} done`);
	if (counts.dead) parts.push(`${number(counts.dead)} failed`);
	if (counts.rejected) parts.push(`${number(counts.rejected)} rejected`);
	if (counts.expired + counts.cancelled) parts.push(`${number(counts.expired + counts.cancelled)} not delivered`);
	if (counts.unrouted) parts.push(`${number(counts.unrouted)} that no queue takes`);
	return parts.join(" · ");
}
