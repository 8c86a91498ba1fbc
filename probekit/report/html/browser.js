// The browser of wrong clips: a list that filters and arrow keys move through, and a panel.
{
  const data = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const PAGE = 100; // clips that are put into the list at once

  // Text is only ever set as text: nothing of a name is taken for markup.
  function make(name, { text, className, ...attributes } = {}, ...children) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }
  const named = (text) => make("bdi", { text });
  const short = (value) => (value === null ? "–" : String(Number(value.toPrecision(3))).replace("-", "−"));
  const share = (value) => (value === null ? "–" : `${(100 * value).toFixed(1)} %`);

  function bar(value) {
    const frame = document.createElementNS(SVG, "svg");
    const inner = document.createElementNS(SVG, "rect");
    frame.setAttribute("class", "bar");
    frame.setAttribute("aria-hidden", "true");
    inner.setAttribute("width", `${100 * Math.min(1, Math.max(0, value ?? 0))}%`);
    inner.setAttribute("height", "100%");
    frame.append(inner);
    return frame;
  }

  function joined(names) {
    return names.flatMap((name, k) => (k ? [", ", named(name)] : [named(name)]));
  }

  class Browser {
    constructor(frame) {
      this.board = data.boards[Number(frame.dataset.board)];
      this.numbers = this.board.target === "regression";
      this.list = frame.querySelector("[role=listbox]");
      this.shown = frame.querySelector(".pair");
      this.panel = frame.querySelector(".clip");
      this.count = frame.querySelector(".count");
      this.pairs = frame.querySelector(".confusions");
      this.choices = {};
      for (const select of frame.querySelectorAll("select")) {
        this.choices[select.dataset.filter] = select;
        select.addEventListener("change", () => this.changed(select.dataset.filter === "run"));
      }
      this.list.addEventListener("keydown", (event) => this.key(event));
      this.list.addEventListener("click", (event) => {
        const option = event.target.closest("[role=option]");
        if (option) this.select(Number(option.dataset.place));
      });
      this.list.addEventListener("scroll", () => {
        const { scrollTop, clientHeight, scrollHeight } = this.list;
        if (scrollTop + clientHeight > scrollHeight - 200) this.extend();
      });
      this.changed(true);
    }

    get run() {
      return this.board.runs[Number(this.choices.run.value)];
    }

    name(k) {
      return (this.run.classes ?? this.board.classes)[k] ?? "?";
    }

    // An item is [clip, true classes, classes shown, their scores, how sure], or for numbers
    // [clip, true numbers, numbers predicted, error]. Predicted are as many as there are labels.
    said(item) {
      return item[2].slice(0, Math.max(1, item[1].length));
    }

    changed(newRun) {
      if (newRun && !this.numbers) {
        this.fill("true", (item) => item[1]);
        this.fill("said", (item) => this.said(item).filter((k) => !item[1].includes(k)));
      }
      const chosen = (name) => (this.choices[name]?.value ?? "0") - 1;
      const [isTrue, isSaid] = [chosen("true"), chosen("said")];
      this.found = this.run.items.filter(
        (item) =>
          this.numbers ||
          ((isTrue < 0 || item[1].includes(isTrue)) &&
            (isSaid < 0 || (this.said(item).includes(isSaid) && !item[1].includes(isSaid)))),
      );
      if (this.choices.order.value === "1") {
        const often = (item) => this.board.wrongIn[item[0]] / this.board.scoredIn[item[0]];
        this.found.sort((a, b) => often(b) - often(a));
      }
      this.tell(isTrue, isSaid);
      this.list.replaceChildren();
      this.list.scrollTop = 0;
      this.extend();
      this.select(this.found.length ? 0 : -1);
    }

    fill(which, classesOf) {
      const select = this.choices[which];
      const counts = new Map();
      for (const item of this.run.items) {
        for (const k of classesOf(item)) counts.set(k, (counts.get(k) ?? 0) + 1);
      }
      const before = select.value;
      const order = [...counts.keys()].sort((a, b) => a - b);
      const options = order.map((k) =>
        make("option", { value: k + 1, text: `${this.name(k)} (${counts.get(k)})` }),
      );
      select.replaceChildren(make("option", { value: 0, text: "any class" }), ...options);
      select.value = counts.has(before - 1) ? before : "0";
    }

    tell(isTrue, isSaid) {
      const { wrong, of, items, problem } = this.run;
      const number = (n) => n.toLocaleString("en");
      let text = `${number(wrong)} of ${number(of)} clips`;
      if (!this.numbers) text += of ? ` are wrong (${share(wrong / of)})` : "";
      if (items.length < wrong) {
        text += `; ${number(items.length)} of them are here, evenly from all classes`;
      }
      if (this.found.length < items.length) text += `; ${number(this.found.length)} shown`;
      const none = items.length && !this.found.length ? " No clip fits." : "";
      this.count.textContent = problem || `${text}.${none}`;
      this.pairs.replaceChildren(
        ...this.run.pairs.map(([a, b, n]) => {
          const pressed = a === isTrue && b === isSaid;
          const arrow = make("span", { className: "soft", text: " → ", "aria-label": "taken for" });
          const times = make("span", { className: "soft", text: ` ×${number(n)}` });
          const parts = [named(this.name(a)), arrow, named(this.name(b)), times];
          const button = make("button", { type: "button", "aria-pressed": pressed }, ...parts);
          button.addEventListener("click", () => this.pair(a, b, pressed));
          return button;
        }),
      );
    }

    pair(a, b, pressed) {
      const set = (which, k) => {
        const wanted = String(pressed ? 0 : k + 1);
        const select = this.choices[which];
        select.value = [...select.options].some((o) => o.value === wanted) ? wanted : "0";
      };
      set("true", a);
      set("said", b);
      const place = this.run.pairs.findIndex((own) => own[0] === a && own[1] === b);
      this.changed(false);
      this.pairs.children[place]?.focus();
    }

    extend() {
      const first = this.list.children.length;
      const more = this.found.slice(first, first + PAGE);
      this.list.append(...more.map((item, k) => this.option(item, first + k)));
    }

    option(item, place) {
      const [clip, truth] = item;
      const what = make("span", { className: "what" });
      if (this.numbers) {
        const all = (values) => values.map(short).join(", ");
        what.append(`${all(truth)} → ${all(item[2])}`);
      } else {
        const said = this.said(item).filter((k) => !truth.includes(k)).map((k) => this.name(k));
        const missed = truth.filter((k) => !this.said(item).includes(k)).map((k) => this.name(k));
        const arrow = make("span", { className: "to", text: "→" });
        what.append(...joined(missed), arrow, make("b", {}, ...joined(said)));
      }
      const sure = item[item.length - 1];
      const size = this.numbers ? (sure ?? 0).toFixed(2) : share(sure);
      const most = this.run.items[0][item.length - 1] || 1;
      return make(
        "li",
        {
          role: "option",
          id: `${this.list.id}-${place}`,
          "data-place": place,
          "aria-selected": false,
        },
        what,
        bar(this.numbers ? sure / most : sure),
        make("span", { className: "n", text: size }),
        make("span", { className: "id", text: this.board.clips[clip] }),
      );
    }

    select(place) {
      this.list.querySelector("[aria-selected=true]")?.setAttribute("aria-selected", "false");
      this.place = place;
      this.shown.hidden = place < 0; // no empty boxes
      if (place < 0) {
        this.list.removeAttribute("aria-activedescendant");
        this.panel.replaceChildren();
        return;
      }
      while (place >= this.list.children.length) this.extend();
      const option = this.list.children[place];
      option.setAttribute("aria-selected", "true");
      this.list.setAttribute("aria-activedescendant", option.id);
      const top = option.offsetTop;
      const bottom = top + option.offsetHeight;
      if (top < this.list.scrollTop) this.list.scrollTop = top;
      if (bottom > this.list.scrollTop + this.list.clientHeight) {
        this.list.scrollTop = bottom - this.list.clientHeight;
      }
      this.show(this.found[place]);
    }

    show(item) {
      const [clip, truth] = item;
      const { clips, files, wrongIn, scoredIn, sounds, silence } = this.board;
      const parts = [make("h4", {}, named(clips[clip]))];
      if (files[clip] && files[clip] !== clips[clip]) {
        parts.push(make("p", { className: "soft" }, named(files[clip])));
      }
      const sound = data.sounds[sounds[clip]];
      parts.push(
        sound
          ? make("audio", { controls: "", preload: "metadata", src: sound })
          : make("p", { className: "soft silence", text: silence }),
      );
      const facts = make("dl");
      const fact = (name, ...content) =>
        facts.append(make("dt", { text: name }), make("dd", {}, ...content));
      if (!this.numbers) {
        fact("labelled", ...joined(truth.map((k) => this.name(k))));
        fact("predicted", ...joined(this.said(item).map((k) => this.name(k))));
      }
      const listed = this.numbers ? "among the largest errors" : "wrong";
      if (this.board.runs.length > 1) {
        fact("in all runs", `${listed} in ${wrongIn[clip]} of ${scoredIn[clip]}`);
      }
      parts.push(facts, this.numbers ? this.values(item) : this.scores(item));
      this.panel.replaceChildren(...parts);
    }

    scores(item) {
      const said = this.said(item);
      return make(
        "ol",
        { "aria-label": "scores" },
        ...item[2].map((k, place) => {
          const kind = item[1].includes(k) ? "true" : said.includes(k) ? "said" : "";
          const mark = kind === "true" ? " (its label)" : "";
          return make(
            "li",
            { className: kind },
            make("span", {}, named(this.name(k)), mark),
            make("span", { className: "n", text: share(item[3][place]) }),
            bar(item[3][place]),
          );
        }),
      );
    }

    values(item) {
      return make(
        "ol",
        { "aria-label": "numbers", className: "numbers" },
        ...item[1].map((value, k) => {
          const text = `${short(value)} → ${short(item[2][k])}`;
          return make("li", {}, named(this.name(k)), make("span", { className: "n", text }));
        }),
      );
    }

    key(event) {
      const last = this.found.length - 1;
      const to = {
        ArrowDown: Math.min(last, this.place + 1),
        ArrowUp: Math.max(0, this.place - 1),
        PageDown: Math.min(last, this.place + 10),
        PageUp: Math.max(0, this.place - 10),
        Home: 0,
        End: last,
      }[event.key];
      if (to !== undefined && last >= 0) {
        this.select(to);
      } else if (event.key === "Enter" || event.key === " ") {
        const audio = this.panel.querySelector("audio");
        if (audio) audio.paused ? audio.play() : audio.pause();
      } else {
        return;
      }
      event.preventDefault();
    }
  }

  for (const frame of document.querySelectorAll(".wrong")) new Browser(frame);
}
