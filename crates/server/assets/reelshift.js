// The pages' live part. Without it everything can be read and every form works.
(function () {
  "use strict";
  var root = document.documentElement, body = document.body;
  root.classList.add("has-js");

  // Light or dark: as the system says, until somebody chooses.
  var themes = window.localStorage;
  function paint(theme) {
    if (theme) root.dataset.theme = theme; else delete root.dataset.theme;
  }
  try { paint(themes.getItem("theme")); } catch (refused) { themes = null; }
  var button = document.getElementById("theme");
  if (button) button.addEventListener("click", function () {
    // The other one, and then again as the system says.
    var dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
    paint(root.dataset.theme ? null : dark ? "light" : "dark");
    try {
      if (!themes) return;
      if (root.dataset.theme) themes.setItem("theme", root.dataset.theme); else themes.removeItem("theme");
    } catch (refused) { themes = null; }
  });

  // Times as this browser's clock shows them; UTC stays in their titles.
  // What is shown of 2026-11-28 02:58:07, which is also how Swedish writes it.
  var shapes = { whole: [0, 19], minute: [0, 16], day: [5, 16], clock: [11, 16], second: [11, 19] };
  function localise(part) {
    Array.prototype.forEach.call(part.querySelectorAll("time[data-shape]"), function (time) {
      var shape = shapes[time.dataset.shape];
      if (!shape) return;
      time.textContent = new Date(time.dateTime).toLocaleString("sv-SE").slice(shape[0], shape[1]);
    });
  }
  localise(document);

  // The age of the figures, counted here: it must grow when nothing comes.
  var STALE = 10, taken = Date.now() - 1000 * Number(body.dataset.age || 0), cause = "";
  function tick() {
    var age = Math.max(0, Math.round((Date.now() - taken) / 1000));
    var shown = document.getElementById("age"), note = document.getElementById("stale");
    if (shown) shown.textContent = age + " s";
    var stale = age > STALE || cause !== "";
    body.classList.toggle("stale", stale);
    if (!note) return;
    var text = stale ? "These figures are " + age + " s old: " +
      (cause || "nothing newer has come from the server") + "." : "";
    // Said once a state, not once a second.
    if ((note.textContent === "") !== (text === "") || !stale) note.textContent = text;
    else if (age % 10 === 0) note.textContent = text;
  }
  window.setInterval(tick, 1000);

  // One stream a tab, closed while nobody sees it.
  var stream = null, verdict = null, shown = {};
  function look(event) {
    var news = JSON.parse(event.data);
    taken = Date.now() - 1000 * news.age;
    cause = news.trouble || "";
    Object.keys(news.parts).forEach(function (id) {
      var part = document.getElementById("part-" + id);
      if (!part) return;
      // Whoever presses or selects something in it keeps it as it is, and is told so.
      var active = document.activeElement, selection = window.getSelection();
      var changed = shown[id] !== news.parts[id], kept = changed &&
        ((active && active !== body && active !== part && part.contains(active)) ||
         (selection && !selection.isCollapsed && selection.containsNode(part, true)));
      part.classList.toggle("kept", !!kept);
      if (kept || !changed) return;
      var open = Array.prototype.map.call(part.querySelectorAll("details"), function (d) { return d.open; });
      part.innerHTML = news.parts[id];
      localise(part);
      shown[id] = news.parts[id];
      Array.prototype.forEach.call(part.querySelectorAll("details"), function (d, n) { d.open = !!open[n]; });
    });
    body.classList.toggle("is-paused", news.paused);
    if (verdict !== null && verdict !== news.kind) {
      var said = document.getElementById("announce");
      if (said) said.textContent = news.word + ". " + news.sentence;
    }
    verdict = news.kind;
    document.title = document.title.replace(/^([A-Z ]+: )?/, news.urgent ? news.word + ": " : "");
    tick();
  }
  // A stream that was refused is not tried again by the browser: whoever is logged out goes
  // to the login and comes back here; any other reason may pass.
  function refused() {
    if (!stream || stream.readyState !== EventSource.CLOSED) return;
    close();
    var again = function () { window.setTimeout(open, 2000); };
    fetch("/api/v1/whoami", { cache: "no-store" }).then(function (answer) {
      if (answer.status !== 401) return again();
      var here = encodeURIComponent(window.location.pathname + window.location.search);
      window.location.assign("/login?ended=true&next=" + here);
    }, again);
  }
  function open() {
    if (stream || document.hidden || !body.dataset.stream) return;
    stream = new EventSource(body.dataset.stream);
    stream.addEventListener("error", refused);
    stream.addEventListener("look", look);
    stream.addEventListener("trouble", function (event) { cause = JSON.parse(event.data); tick(); });
  }
  function close() {
    if (stream) stream.close();
    stream = null;
  }
  document.addEventListener("visibilitychange", function () { if (document.hidden) close(); else open(); });
  window.addEventListener("pagehide", close);
  open();

  // A slider beside its number, and what is proposed against what is.
  Array.prototype.forEach.call(document.querySelectorAll("input[type=range][data-for]"), function (range) {
    var number = document.getElementById(range.dataset.for);
    var output = document.querySelector("output[for='" + range.dataset.for + "']");
    function show() {
      var now = number.dataset.now;
      if (output) output.textContent = number.value === now ? now + " % now" : now + " % → " + number.value + " %";
    }
    range.addEventListener("input", function () { number.value = range.value; show(); });
    number.addEventListener("input", function () { range.value = number.value; show(); });
  });

  // The search field, from everywhere.
  document.addEventListener("keydown", function (event) {
    var field = document.getElementById("find");
    if (!field || event.key !== "k" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    field.focus();
    field.select();
  });

  // What was typed into a form that was refused, or was sent when the session had ended, is there
  // again.
  var drafts = "draft " + window.location.pathname, role = document.querySelector(".role");
  var who = role ? role.textContent : "";
  function typed(form) {
    return Array.prototype.filter.call(form.elements, function (field) {
      return field.name && field.type !== "hidden" && field.type !== "submit" && field.type !== "password";
    });
  }
  // A form by what it does, to what, and what it asks: these say what was seen, and change.
  var seen = { csrf: 1, seen: 1, expected: 1, back: 1 };
  function nameOf(form) {
    var parts = [form.getAttribute("action")];
    Array.prototype.forEach.call(form.elements, function (field) {
      if (field.name && !seen[field.name]) parts.push(field.name, field.type === "hidden" ? field.value : "");
    });
    return parts.join(" ");
  }
  function fill(form, values) {
    typed(form).forEach(function (field) {
      if (!(field.name in values)) return;
      if (field.type === "checkbox") field.checked = values[field.name];
      else field.value = values[field.name];
      field.dispatchEvent(new Event("input", { bubbles: true }));
    });
    var hidden = form.closest("details");
    if (hidden) hidden.open = true;
  }
  try {
    var draft = JSON.parse(window.sessionStorage.getItem(drafts) || "null");
    window.sessionStorage.removeItem(drafts);
    if (draft && draft.who === who && !document.querySelector("#said.good")) {
      var same = Array.prototype.filter.call(document.forms, function (form) { return nameOf(form) === draft.form; });
      if (same.length === 1) fill(same[0], draft.values);
      if (same.length === 1 && !document.getElementById("said")) {
        var note = document.createElement("p");
        note.className = "flash bad";
        note.setAttribute("role", "alert");
        note.textContent = "What you sent last has no answer: it may not be done. It is in its form again.";
        document.getElementById("main").before(note);
      }
    }
  } catch (refused) { /* Without a storage what was typed is gone. */ }
  document.addEventListener("submit", function (event) {
    var form = event.target, fields = typed(form), values = {};
    if (form.getAttribute("method") !== "post" || !fields.length) return;
    fields.forEach(function (field) { values[field.name] = field.type === "checkbox" ? field.checked : field.value; });
    try {
      window.sessionStorage.setItem(drafts, JSON.stringify({ who: who, form: nameOf(form), values: values }));
    } catch (refused) { /* As above. */ }
  });

  // A form is sent once.
  document.addEventListener("submit", function (event) {
    if (event.target.dataset.sent) { event.preventDefault(); return; }
    event.target.dataset.sent = "yes";
  });
  window.addEventListener("pageshow", function () {
    Array.prototype.forEach.call(document.forms, function (form) { delete form.dataset.sent; });
  });
})();
