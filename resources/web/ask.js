/* Asking before something is done that cannot be taken back. */

import { copy, make, part, say } from "./dom.js";

/**
 * Asks a question; resolves to what was chosen or typed, or to null. With `typed` the button stays
 * off until that very text was put in. With `choices` one of them is chosen.
 */
export function question({ title, text, yes, typed, choices }) {
	const dialog = copy("confirm");
	say(dialog, { title, text });
	const confirm = part(dialog, "yes");
	confirm.textContent = yes;
	let field = null;
	if (typed) {
		field = make("input", { id: "typed", autocomplete: "off", spellcheck: "false" });
		const label = make("label", { for: "typed" }, "Type ", make("strong", { class: "name" }, typed), " to go on");
		part(dialog, "fields").append(label, field);
		confirm.disabled = true;
		field.addEventListener("input", () => { confirm.disabled = field.value !== typed; });
	}
	if (choices) {
		field = make("select", { id: "chosen" }, ...choices.list.map((one) => make("option", {}, one)));
		part(dialog, "fields").append(make("label", { for: "chosen" }, choices.label), field);
	}
	document.body.append(dialog);
	dialog.showModal();
	return new Promise((resolve) => {
		dialog.addEventListener("close", () => {
			dialog.remove();
			resolve(dialog.returnValue === "yes" ? (field?.value ?? true) : null);
		});
	});
}
