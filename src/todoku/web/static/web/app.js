// Todoku's own script: what is live, the keyboard, the two panes, sound. Pages work without it, only less quickly.
"use strict";
(() => {
  const all = (query, root = document) => [...root.querySelectorAll(query)];
  const one = (query, root = document) => root.querySelector(query);
  const body = document.body;
  const wide = matchMedia("(min-width: 75rem)");
  const POLL_MS = 10_000;

  // Words for screen readers and for everybody
  const announce = (text) => { const place = one("#announce"); if (place && text) place.textContent = text; };
  const toast = (text) => {
    const place = one(".toasts");
    if (!place || !text) return;
    const note = document.createElement("div");
    note.className = "note sheet";
    note.textContent = text;
    place.append(note);
    setTimeout(() => note.remove(), 7000);
  };
  all(".toasts > *").forEach((note) => setTimeout(() => note.remove(), 8000));
  body.addEventListener("toast", (event) => toast(event.detail.value));
  body.addEventListener("htmx:sendError", () => toast(body.dataset.lost));
  body.addEventListener("htmx:responseError", (event) => { if (event.detail.xhr.status !== 401) toast(body.dataset.failed); });

  // Live: the stream only says what moved; each element asks again for itself
  const title = document.title;
  let source = null;
  let polling = 0;
  let pending = new Map();
  const refresh = (kind) => all("[data-live]").forEach((element) => {
    if (one("details[open] form", element)) return;      // somebody is filling it in
    if (!kind || element.dataset.live.split(" ").includes(kind)) htmx.trigger(element, "live");
  });
  body.addEventListener("htmx:beforeRequest", (event) => {
    const asks = event.detail.elt.matches("[data-again]") && event.detail.target;
    if (asks && one("details[open] form", asks)) event.preventDefault();
  });
  const soon = (kind) => {                 // a burst of events becomes one question
    if (pending.has(kind)) return;
    pending.set(kind, setTimeout(() => { pending.delete(kind); refresh(kind); }, 150));
  };
  const lamp = (away) => all(".lamp").forEach((light) => {
    light.classList.toggle("away", away);
    light.textContent = away ? light.dataset.away : light.dataset.on;
  });
  const poll = (on) => {
    if (on && !polling) polling = setInterval(() => refresh(), POLL_MS);
    if (!on && polling) { clearInterval(polling); polling = 0; }
    lamp(on);
  };
  const listen = () => {
    if (source || !body.dataset.stream || !one("[data-live]")) return;
    source = new EventSource(body.dataset.stream);
    source.addEventListener("here", () => { poll(false); refresh(); });
    source.addEventListener("away", () => poll(true));
    source.addEventListener("reservation", () => soon("reservation"));
    source.addEventListener("run", () => soon("run"));
    source.addEventListener("error", () => {
      poll(true);
      if (source.readyState === EventSource.CLOSED) { source = null; setTimeout(listen, POLL_MS); }
    });
  };
  addEventListener("pagehide", () => { if (source) source.close(); source = null; });
  addEventListener("pageshow", listen);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });

  // Sound, off until somebody wants it
  let audio = null;
  const sound = one("#sound");
  const soundOn = () => localStorage.getItem("sound") === "on";
  const ring = () => {
    if (!soundOn()) return;
    audio = audio || new AudioContext();
    [[660, 0], [880, 0.14]].forEach(([hertz, delay]) => {
      const tone = audio.createOscillator();
      const level = audio.createGain();
      const start = audio.currentTime + delay;
      tone.frequency.value = hertz;
      level.gain.setValueAtTime(0.0001, start);
      level.gain.exponentialRampToValueAtTime(0.14, start + 0.02);
      level.gain.exponentialRampToValueAtTime(0.0001, start + 0.5);
      tone.connect(level).connect(audio.destination);
      tone.start(start);
      tone.stop(start + 0.55);
    });
  };
  if (sound) {
    sound.hidden = false;
    const show = () => sound.setAttribute("aria-pressed", String(soundOn()));
    sound.addEventListener("click", () => { localStorage.setItem("sound", soundOn() ? "off" : "on"); show(); ring(); });
    show();
  }

  // Swaps: keep the reader's place, show what arrived
  let before = null;
  body.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target.id !== "slips") return;
    const focused = document.activeElement?.closest?.(".slip");
    before = {
      keys: new Set(all(".slip").map((slip) => slip.dataset.key)),
      focus: focused ? [focused.id, document.activeElement.matches("button")] : null,
    };
  });
  const count = () => {
    const badge = one("[data-count]");
    const number = Number(badge?.dataset.count || 0);
    document.title = number ? `(${number}) ${title}` : title;
  };
  body.addEventListener("htmx:afterSettle", (event) => {
    count();
    if (event.detail.target.id === "pane") { markOpen(); return; }
    if (event.detail.target.id !== "slips" || !before) return;
    const fresh = all(".slip").filter((slip) => !before.keys.has(slip.dataset.key) && slip.classList.contains("new"));
    if (before.keys.size || fresh.length) {
      fresh.forEach((slip) => slip.classList.add("arrived"));
      announce(fresh.map((slip) => slip.dataset.say).join(" "));
      if (fresh.length) ring();
    }
    if (before.focus) {
      const slip = document.getElementById(before.focus[0]);
      (slip && ((before.focus[1] && one("button", slip)) || one("a", slip)))?.focus({ preventScroll: true });
    }
    before = null;
    markOpen();
  });

  // Two panes on a wide screen
  const markOpen = () => {
    const id = one("#pane [data-open]")?.dataset.open;
    all(".slip").forEach((slip) => slip.classList.toggle("open", slip.id === `r-${id}`));
  };
  document.addEventListener("click", (event) => {
    all("details.me[open]").forEach((menu) => { if (!menu.contains(event.target)) menu.open = false; });
    const link = event.target.closest(".slip > a");
    if (!link || !one("#pane") || !wide.matches || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    htmx.ajax("GET", link.getAttribute("href"), { target: "#pane", swap: "innerHTML show:none" });
  });

  // Keyboard: j and k walk, Enter opens, h = handled
  const walk = (step) => {
    const links = all(".slip > a");
    const at = links.indexOf(document.activeElement?.closest?.(".slip")?.querySelector("a"));
    const next = links[at < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(Math.max(at + step, 0), links.length - 1)];
    next?.focus();
    next?.closest(".slip").scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") all("details.me[open]").forEach((menu) => { menu.open = false; one("summary", menu).focus(); });
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
    if (event.key === "j") walk(1);
    if (event.key === "k") walk(-1);
    if (event.key === "h") {
      const slip = document.activeElement?.closest?.(".slip");
      (one("form.handle", slip || one("#pane") || document) || one("form.handle.page"))?.requestSubmit();
    }
  });

  // Calendar: arrows walk from start to start, Page Up and Page Down turn it over
  document.addEventListener("keydown", (event) => {
    if (!one(".cal") || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
    const page = one(`[data-key="${event.key}"]`);
    if (page) { event.preventDefault(); page.click(); return; }
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const entries = all(".cal .entry");
    const at = entries.indexOf(document.activeElement);
    const next = entries[at < 0 ? (step > 0 ? 0 : entries.length - 1) : at + step];
    if (next) { event.preventDefault(); next.focus(); }
  });

  // Field and mail light up together
  const pair = (name, on) => all(`[data-f="${name}"]`).forEach((element) => element.classList.toggle("on", on));
  for (const [kind, on] of [["pointerover", true], ["pointerout", false], ["focusin", true], ["focusout", false]]) {
    document.addEventListener(kind, (event) => {
      const name = event.target.closest?.("[data-f]")?.dataset.f;
      if (name) pair(CSS.escape(name), on);
    });
  }

  // Editor: a variable goes where the cursor was
  let field = null;
  document.addEventListener("focusin", (event) => { if (event.target.matches("[data-template]")) field = event.target; });
  document.addEventListener("click", (event) => {
    const name = event.target.closest("[data-insert]")?.dataset.insert;
    if (!name) return;
    const target = field || one("textarea[data-template]");
    target.setRangeText(name, target.selectionStart, target.selectionEnd, "end");
    target.dispatchEvent(new Event("input", { bubbles: true }));
    target.focus();
  });

  count();
  markOpen();
})();
