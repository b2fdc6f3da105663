// Pages are complete without this script. It updates them, searches while the user types, and
// copies commands.
"use strict";

// The sections of the page that events update, by name.
const parts = new Map();
for (const part of document.querySelectorAll("[data-live]")) parts.set(part.dataset.live, part);

// replace puts new HTML, which the server has escaped, into a section. Open details stay open, and
// the focus stays where it was.
function replace(part, section) {
  const open = [...part.querySelectorAll("details[open]")].map((d) => d.id);
  const focusable = "a, summary, button";
  const focus = [...part.querySelectorAll(focusable)].indexOf(document.activeElement);
  part.innerHTML = section.HTML;
  part.dataset.hash = section.Hash;
  for (const id of open) {
    const details = document.getElementById(id);
    if (details) details.open = true;
  }
  if (focus >= 0) part.querySelectorAll(focusable)[focus]?.focus({ preventScroll: true });
}

// follow opens the event stream, with the hashes of the sections on the page, and again after an error.
let events;
let retry;
function follow() {
  if (events || document.hidden) return;
  clearTimeout(retry);
  const have = [...parts].map(([name, part]) => name + ":" + part.dataset.hash).join(",");
  events = new EventSource("/events?have=" + encodeURIComponent(have));
  events.onmessage = (event) => {
    for (const [name, section] of Object.entries(JSON.parse(event.data))) {
      if (parts.has(name)) replace(parts.get(name), section);
    }
  };
  events.onerror = () => {
    leave();
    retry = setTimeout(follow, 5000);
  };
}
function leave() {
  events?.close();
  events = undefined;
}
if (parts.size > 0 && window.EventSource) {
  follow();
  // A hidden page needs no events.
  document.addEventListener("visibilitychange", () => (document.hidden ? leave() : follow()));
  window.addEventListener("pagehide", leave);
  window.addEventListener("pageshow", follow);
}

// The slash key selects the search field.
const field = document.getElementById("q");
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  field.focus();
  field.select();
});

// The page of repositories is updated while the user types.
const results = document.getElementById("results");
if (results) {
  let wait;
  let asked = 0;
  const search = async () => {
    const address = field.value.trim() ? "/repositories?q=" + encodeURIComponent(field.value) : "/repositories";
    const number = ++asked;
    const answer = await fetch(address).catch(() => undefined);
    if (!answer?.ok) return; // the search button still works
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const found = page.getElementById("results");
    if (number !== asked || !found) return;
    results.replaceChildren(...found.childNodes);
    history.replaceState(null, "", address);
  };
  field.addEventListener("input", () => {
    clearTimeout(wait);
    wait = setTimeout(search, 200);
  });
}

// Each command gets a button that copies it. Browsers allow that only for pages with TLS or from
// localhost; otherwise the button selects the text, so that the user can copy it.
async function copy(pre, button) {
  let done = "Copied";
  try {
    await navigator.clipboard.writeText(pre.textContent);
  } catch {
    const range = document.createRange();
    range.selectNodeContents(pre);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    done = "Selected";
  }
  button.textContent = done;
  setTimeout(() => (button.textContent = "Copy"), 2000);
}
for (const pre of document.querySelectorAll("pre[data-copy]")) {
  const box = document.createElement("div");
  const button = document.createElement("button");
  box.className = "copied";
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy: " + pre.getAttribute("aria-label"));
  button.addEventListener("click", () => copy(pre, button));
  pre.replaceWith(box);
  box.append(pre, button);
}
