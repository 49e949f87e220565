// Keeps the page of a study as it is in the storage.
//
// An event has the line that changes; the pictures are fetched anew with the whole page, at
// most every few seconds, because they are drawn by the program and not here.

const PAUSE = 3000;
const live = document.getElementById('live');
let due = null;
let latest = 0;

function openParts() {
  const open = new Set();
  document.querySelectorAll('main details').forEach((part, n) => part.open && open.add(n));
  return open;
}

async function refresh() {
  due = null;
  latest = Date.now();
  const answer = await fetch(location.pathname, { credentials: 'same-origin' });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
  const fresh = page.querySelector('main');
  const main = document.querySelector('main');
  // Who reads or types inside the page keeps the place.
  if (!fresh || main.contains(document.activeElement)) return;
  const open = openParts();
  main.replaceChildren(...fresh.childNodes);
  main.querySelectorAll('details').forEach((part, n) => { part.open = open.has(n); });
  if (!page.getElementById('live-stop')) document.getElementById('live-stop')?.remove();
}

function soon() {
  if (due === null) due = setTimeout(refresh, Math.max(0, latest + PAUSE - Date.now()));
}

if (live) {
  const line = document.getElementById('live-line');
  const progress = document.querySelector('#live progress');
  const events = new EventSource(`${live.dataset.path}/events`);
  events.addEventListener('study', (event) => {
    const now = JSON.parse(event.data);
    line.textContent = now.line;
    if (progress) progress.value = now.ended;
    if (now.rows !== live.dataset.rows) soon();
    live.dataset.rows = now.rows;
    if (now.over) events.close();
  });
  events.addEventListener('error', () => {
    if (events.readyState === EventSource.CLOSED) line.textContent += ' (connection lost)';
  });
} else {
  setInterval(refresh, 2 * PAUSE);
}
