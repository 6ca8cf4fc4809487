/*
 * The view that the address names, after the `#`. Each view is a function of the address's names
 * that answers its node, its title, and what it does while it is shown.
 */

import { part } from "./dom.js";
import { queueView } from "./queue.js";
import { queuesView } from "./queues.js";
import { keyView, needsKey } from "./session.js";
import { tray } from "./tray.js";
import { uploadView } from "./upload.js";
import { uploadsView } from "./uploads.js";

const routes = [
	[/^#?\/?$/, uploadsView, "uploads"],
	[/^#\/uploads\/([0-9a-f-]{36})$/i, uploadView, "uploads"],
	[/^#\/queues$/, queuesView, "queues"],
	[/^#\/queues\/([\w.-]+)$/, queueView, "queues"],
];

let shown = null;

/** Follows the address from now on. */
export function begin() {
	addEventListener("hashchange", () => show(true));
	document.addEventListener("nokey", () => show(true));
	document.addEventListener("session", () => show(true));
	document.querySelector(".skip").addEventListener("click", (event) => {
		// It would change the address, which names the view.
		event.preventDefault();
		document.getElementById("main").focus();
	});
	show(false);
}

function show(moved) {
	const address = location.hash;
	const found = routes.find(([pattern]) => pattern.test(address));
	if (!found) return location.replace("#/");
	const [pattern, view, tab] = found;
	if (needsKey() && shown?.view === keyView) return;
	shown?.over.abort();
	const names = pattern.exec(address).slice(1).map((name) => decodeURIComponent(name));
	const chosen = needsKey() ? keyView : view;
	const over = new AbortController();
	shown = { view: chosen, over };
	const { node, title, run } = chosen(...names);
	document.title = `${title} · rowmill`;
	for (const link of document.querySelectorAll("[data-nav]")) {
		if (link.dataset.nav === tab) link.setAttribute("aria-current", "page");
		else link.removeAttribute("aria-current");
	}
	document.getElementById("main").replaceChildren(node);
	part(node, "tray")?.append(tray());
	// Whoever reads by ear is told where they are; at the beginning the page itself is read.
	if (moved) node.querySelector("h1").focus();
	run?.(over.signal);
}
