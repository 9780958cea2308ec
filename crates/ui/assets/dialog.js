// The dialog of a command: what is filled in, what will happen, and what the server said if it refused.

import { html, useEffect, useRef, useSignal } from "./dom.js";
import { say } from "./announce.js";
import { COMMANDS, ask, asking, send } from "./commands.js";
import { find } from "./store.js";
import { Prose, called } from "./words.js";

export function Dialog() {
  const asked = asking.value;
  if (!asked) return null;
  const object = asked.id ? find(asked.kind, asked.id) : null;
  // What it is about went while the question stood.
  if (asked.id && !object) return html`<${Gone} key=${asked.key} asked=${asked} />`;
  return html`<${Question} key=${asked.key} asked=${asked} object=${object} />`;
}

/** Ends this question, and not another that was asked meanwhile: a browser tells only later that a dialog was closed by Escape. */
const end = (asked) => {
  if (asking.value === asked) asking.value = null;
};

function Frame({ asked, label, danger, children, onSubmit }) {
  const close = () => end(asked);
  const dialog = useRef(null);
  useEffect(() => {
    dialog.current.showModal();
    const first = dialog.current.querySelector("input, select, .go");
    first?.focus();
    if (first?.type === "text") first.select();
  }, []);
  // Only what began beside it ends there: text that is marked with the mouse may well reach beyond it.
  const pressed = useRef(null);
  const outside = (event) => event.target === dialog.current && pressed.current === dialog.current && close();
  return html`<dialog ref=${dialog} aria-labelledby="asked" class=${danger ? "danger" : ""} onClose=${close} onPointerDown=${(event) => (pressed.current = event.target)} onClick=${outside}>
    <form method="dialog" onSubmit=${onSubmit}><h2 id="asked">${label}</h2>${children}</form>
  </dialog>`;
}

function Question({ asked, object }) {
  const command = COMMANDS[asked.kind][asked.word];
  const fields = command.fields?.(object) ?? [];
  const values = useSignal(Object.fromEntries(fields.map((field) => [field.name, field.value ?? (field.type === "check" ? false : field.options?.[0]?.[0] ?? "")])));
  const busy = useSignal(false);
  const refused = useSignal(null);
  const label = object ? `${command.label} ${called(asked.kind, object)}` : command.label;
  const isImpossible = fields.some((field) => field.none && !field.options.length);

  const submit = async (event) => {
    event.preventDefault();
    if (busy.value) return;
    busy.value = true;
    refused.value = null;
    try {
      const said = await send(asked, values.value);
      end(asked);
      say(said);
    } catch (error) {
      refused.value = error;
    } finally {
      busy.value = false;
    }
  };
  const set = (name, value) => (values.value = { ...values.value, [name]: value });

  return html`<${Frame} asked=${asked} label=${label} danger=${command.danger} onSubmit=${submit}>
    ${fields.map((field) => html`<${Field} key=${field.name} field=${field} value=${values.value[field.name]} set=${set} />`)}
    <p class="says">${command.says(object, values.value)}</p>
    <div role="alert">
      ${refused.value && html`<p class="refused"><${Prose} text=${refused.value.message} /></p>`}
    </div>
    <div class="buttons">
      <button type="button" onClick=${() => end(asked)}>Cancel</button>
      <button type="submit" class="go ${command.danger ? "loud" : "primary"}" disabled=${isImpossible} aria-busy=${busy.value ? "true" : undefined}>
        ${busy.value ? "Asking…" : (command.verb ?? command.label)}
      </button>
    </div>
  </${Frame}>`;
}

function Field({ field, value, set }) {
  const { name, label, type, hint, unit, options, required, none, ...rest } = field;
  const id = `field-${name}`;
  const described = hint ? `${id}-hint` : undefined;
  if (type === "check") {
    return html`<div class="field check">
      <input id=${id} type="checkbox" checked=${value} required=${required} aria-describedby=${described} onChange=${(event) => set(name, event.target.checked)} />
      <label for=${id}>${label}</label>
      ${hint && html`<p id=${described} class="hint">${hint}</p>`}
    </div>`;
  }
  if (type === "select" && none && !options.length) {
    return html`<div class="field"><p>${none.text} <button type="button" class="link" onClick=${() => ask(...none.word)}>${none.act}</button></p></div>`;
  }
  const control =
    type === "select"
      ? html`<select id=${id} required=${required} onChange=${(event) => set(name, event.target.value)}>
          ${options.map(([word, text]) => html`<option key=${word} value=${word} selected=${word === value}>${text}</option>`)}
        </select>`
      : html`<span class="with-unit">
          <input
            id=${id}
            type=${type}
            required=${required}
            min=${rest.min}
            step=${type === "number" ? 1 : undefined}
            pattern=${rest.pattern}
            autocomplete="off"
            spellcheck=${false}
            value=${value}
            aria-describedby=${described}
            onInput=${(event) => set(name, event.target.value)}
          />${unit && html`<span class="unit" aria-hidden="true">${unit}</span>`}
        </span>`;
  return html`<div class="field">
    <label for=${id}>${label}${unit && html`<span class="unseen"> in ${unit}</span>`}</label>${control}
    ${hint && html`<p id=${described} class="hint">${hint}</p>`}
  </div>`;
}

const Gone = ({ asked }) => html`<${Frame} asked=${asked} label="It is gone" onSubmit=${(event) => (event.preventDefault(), end(asked))}>
  <p class="says">What this was about does not exist any more.</p>
  <div class="buttons"><button type="submit" class="go">Close</button></div>
</${Frame}>`;
