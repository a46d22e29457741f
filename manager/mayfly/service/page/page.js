"use strict";
(() => {
  const link = document.getElementById("link");
  const main = document.querySelector("main");
  const log = document.getElementById("log");
  const LINES = 5000;

  function spoken(seconds) {
    const s = Math.max(0, Math.floor(seconds));
    if (s < 60) return s + " s";
    if (s < 3600) return Math.floor(s / 60) + " min";
    if (s < 48 * 3600) return Math.floor(s / 3600) + " h";
    return Math.floor(s / 86400) + " days";
  }

  function ages() {
    for (const one of document.querySelectorAll("time[data-age]")) {
      one.textContent = spoken((Date.now() - Date.parse(one.dateTime)) / 1000);
    }
  }

  function say(text, lost) {
    if (!link || link.textContent === text) return;
    link.textContent = text;
    link.classList.toggle("lost", lost);
  }

  // The server has escaped all that is in the parts. Who reads by keyboard stays where they are.
  function put(parts) {
    const active = document.activeElement;
    const at = active && active.id ? active.id : null;
    for (const [id, markup] of Object.entries(parts)) {
      const place = document.getElementById(id);
      if (place) place.innerHTML = markup;
    }
    ages();
    if (at && document.activeElement !== document.getElementById(at)) {
      const again = document.getElementById(at);
      if (again) again.focus({ preventScroll: true });
    }
  }

  function follow(address, heard) {
    let source = null;
    function open() {
      if (source || document.hidden) return;
      source = new EventSource(address);
      source.onopen = () => say("live", false);
      source.onerror = () => {
        say("not connected since " + new Date().toLocaleTimeString(), true);
        if (source.readyState === EventSource.CLOSED) {
          source = null;
          setTimeout(open, 5000);
        }
      };
      heard(source);
    }
    // Nobody reads a page that is not shown; a browser has but a few connections to one place.
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) open();
      else if (source) {
        source.close();
        source = null;
      }
    });
    addEventListener("pagehide", () => source && source.close());
    open();
  }

  if (main && main.dataset.live) {
    follow(main.dataset.live, (source) => {
      source.addEventListener("parts", (event) => put(JSON.parse(event.data)));
    });
  }
  if (log && log.dataset.log) {
    follow(log.dataset.log, (source) => {
      source.addEventListener("begin", () => (log.textContent = ""));
      source.addEventListener("print", (event) => {
        const low = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
        let text = log.textContent + JSON.parse(event.data);
        const lines = text.split("\n");
        if (lines.length > LINES) text = lines.slice(-LINES).join("\n");
        log.textContent = text;
        if (low) log.scrollTop = log.scrollHeight;
      });
      source.addEventListener("end", () => {
        source.close();
        say("the log is whole", false);
      });
    });
  }
  ages();
  setInterval(ages, 5000);
})();
