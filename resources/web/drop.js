/* Where files are given: dropped anywhere on the page, or chosen; and how they are to be read. */

import { ask, can } from "./api.js";
import { make, part } from "./dom.js";
import { give } from "./send.js";
import { announce } from "./spoken.js";

/** Makes the drop zone of a view work until `signal` fires. */
export function takeFiles(view, signal) {
	const place = part(view, "give");
	place.hidden = !can("POST", "/file/upload");
	if (place.hidden) return;
	const zone = part(view, "drop");
	const input = place.querySelector("input[type=file]");
	const options = place.querySelector(".options");

	input.addEventListener("change", () => {
		take(input.files);
		input.value = "";
	});
	// The whole page takes them, not only the zone.
	const on = (name, act) => addEventListener(name, act, { signal });
	const carries = (event) => event.dataTransfer?.types.includes("Files");
	on("dragover", (event) => {
		if (!carries(event)) return;
		event.dataTransfer.dropEffect = "copy";
		zone.classList.add("over");
	});
	on("dragleave", (event) => event.relatedTarget || zone.classList.remove("over"));
	on("drop", (event) => {
		if (!carries(event)) return;
		zone.classList.remove("over");
		const folders = [...event.dataTransfer.items].filter((item) => item.webkitGetAsEntry?.()?.isDirectory);
		if (folders.length > 0) return announce("Folders cannot be uploaded: drop the files in them.");
		take(event.dataTransfer.files);
	});

	function take(files) {
		const fields = [...options.querySelectorAll("[name]")];
		const wrong = fields.find((field) => !field.checkValidity());
		if (wrong) {
			options.open = true;
			return wrong.reportValidity();
		}
		const said = fields.map((field) => [field.name, field.type === "checkbox" ? (field.checked ? "true" : "") : field.value.trim()]);
		give(files, Object.fromEntries(said));
	}

	options.addEventListener("toggle", () => topics(options.querySelector("[name=topic]"), signal), { once: true });
}

async function topics(select, signal) {
	if (!can("GET", "/topics")) return;
	const { data } = await ask("GET", "topics?limit=1000", { signal });
	select.append(...data.filter(({ id }) => id !== "rows").map(({ id }) => make("option", {}, id)));
}
