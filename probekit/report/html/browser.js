// Browser of misclassified clips: a list that filters and arrow keys move through, and a panel.
{
  const data = JSON.parse(document.getElementById("data").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const BATCH = 100; // clips that are added to the list at once

  // Text is only ever set as text: no name is taken for markup.
  function make(name, { text, className, ...attributes } = {}, ...children) {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }
  const bdi = (text) => make("bdi", { text });
  const threeDigits = (value) =>
    value === null ? "–" : String(Number(value.toPrecision(3))).replace("-", "−");
  const percent = (value) => (value === null ? "–" : `${(100 * value).toFixed(1)} %`);
  const count = (n) => n.toLocaleString("en");

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

  function joinNames(names) {
    return names.flatMap((name, k) => (k ? [", ", bdi(name)] : [bdi(name)]));
  }

  class Browser {
    constructor(frame) {
      this.board = data.boards[Number(frame.dataset.board)];
      this.regression = this.board.target === "regression";
      this.list = frame.querySelector("[role=listbox]");
      this.listAndClip = frame.querySelector(".list-and-clip");
      this.panel = frame.querySelector(".clip");
      this.status = frame.querySelector(".count");
      this.confusions = frame.querySelector(".confusions");
      this.filters = {};
      for (const select of frame.querySelectorAll("select")) {
        this.filters[select.dataset.filter] = select;
        select.addEventListener("change", () => this.update(select.dataset.filter === "run"));
      }
      this.list.addEventListener("keydown", (event) => this.handleKey(event));
      this.list.addEventListener("click", (event) => {
        const option = event.target.closest("[role=option]");
        if (option) this.select(Number(option.dataset.place));
      });
      this.list.addEventListener("scroll", () => {
        const { scrollTop, clientHeight, scrollHeight } = this.list;
        if (scrollTop + clientHeight > scrollHeight - 200) this.extendList();
      });
      this.update(true);
    }

    get run() {
      return this.board.runs[Number(this.filters.run.value)];
    }

    className(k) {
      return (this.run.classes ?? this.board.classes)[k] ?? "?";
    }

    // An item is [clip, classes of the clip, classes shown, their scores, highest wrong score], or
    // for regression [clip, targets, predictions, error]. As many classes count as predicted as the
    // clip has labels.
    predicted(item) {
      return item[2].slice(0, Math.max(1, item[1].length));
    }

    wrong(item) {
      return this.predicted(item).filter((k) => !item[1].includes(k));
    }

    // Apply the filters; for another run, their options are those of its classes.
    update(newRun) {
      if (newRun && !this.regression) {
        this.fillFilter("label", (item) => item[1]);
        this.fillFilter("predicted", (item) => this.wrong(item));
      }
      const chosenClass = (filter) => (this.filters[filter]?.value ?? "0") - 1;
      const [label, predicted] = [chosenClass("label"), chosenClass("predicted")];
      this.items = this.run.items.filter(
        (item) =>
          this.regression ||
          ((label < 0 || item[1].includes(label)) &&
            (predicted < 0 || this.wrong(item).includes(predicted))),
      );
      if (this.filters.order.value === "1") {
        const wrongShare = (item) => this.board.wrongIn[item[0]] / this.board.scoredIn[item[0]];
        this.items.sort((a, b) => wrongShare(b) - wrongShare(a));
      }
      this.showCount();
      this.showConfusions(label, predicted);
      this.list.replaceChildren();
      this.list.scrollTop = 0;
      this.extendList();
      this.select(this.items.length ? 0 : -1);
    }

    fillFilter(name, classesOf) {
      const select = this.filters[name];
      const counts = new Map();
      for (const item of this.run.items) {
        for (const k of classesOf(item)) counts.set(k, (counts.get(k) ?? 0) + 1);
      }
      const before = select.value;
      const order = [...counts.keys()].sort((a, b) => a - b);
      const options = order.map((k) =>
        make("option", { value: k + 1, text: `${this.className(k)} (${counts.get(k)})` }),
      );
      select.replaceChildren(make("option", { value: 0, text: "any class" }), ...options);
      select.value = counts.has(before - 1) ? before : "0";
    }

    showCount() {
      const { wrong, of, items, problem } = this.run;
      let text = `${count(wrong)} of ${count(of)} clips`;
      if (!this.regression) text += of ? ` are wrong (${percent(wrong / of)})` : "";
      if (items.length < wrong) {
        text += `; ${count(items.length)} of them are here, evenly from all classes`;
      }
      if (this.items.length < items.length) text += `; ${count(this.items.length)} shown`;
      const none = items.length && !this.items.length ? " No clip fits." : "";
      this.status.textContent = problem || `${text}.${none}`;
    }

    showConfusions(label, predicted) {
      const buttons = this.run.pairs.map(([a, b, n]) => {
        const pressed = a === label && b === predicted;
        const arrow = make("span", { className: "soft", text: " → ", "aria-label": "taken for" });
        const times = make("span", { className: "soft", text: ` ×${count(n)}` });
        const parts = [bdi(this.className(a)), arrow, bdi(this.className(b)), times];
        const button = make("button", { type: "button", "aria-pressed": pressed }, ...parts);
        button.addEventListener("click", () => this.filterByConfusion(a, b, pressed));
        return button;
      });
      this.confusions.replaceChildren(...buttons);
    }

    filterByConfusion(a, b, pressed) {
      const set = (name, k) => {
        const value = String(pressed ? 0 : k + 1);
        const select = this.filters[name];
        select.value = [...select.options].some((o) => o.value === value) ? value : "0";
      };
      set("label", a);
      set("predicted", b);
      const place = this.run.pairs.findIndex((pair) => pair[0] === a && pair[1] === b);
      this.update(false);
      this.confusions.children[place]?.focus();
    }

    extendList() {
      const first = this.list.children.length;
      const items = this.items.slice(first, first + BATCH);
      this.list.append(...items.map((item, k) => this.makeOption(item, first + k)));
    }

    makeOption(item, place) {
      const [clip, labels] = item;
      const confusion = make("span", { className: "confusion" });
      if (this.regression) {
        const join = (values) => values.map(threeDigits).join(", ");
        confusion.append(`${join(labels)} → ${join(item[2])}`);
      } else {
        const wrong = this.wrong(item).map((k) => this.className(k));
        const missed = labels.filter((k) => !this.predicted(item).includes(k));
        const arrow = make("span", { className: "arrow", text: "→" });
        const missedNames = joinNames(missed.map((k) => this.className(k)));
        confusion.append(...missedNames, arrow, make("b", {}, ...joinNames(wrong)));
      }
      const size = item[item.length - 1];
      const largest = this.run.items[0][item.length - 1] || 1;
      const text = this.regression ? (size ?? 0).toFixed(2) : percent(size);
      const attributes = {
        role: "option",
        id: `${this.list.id}-${place}`,
        "data-place": place,
        "aria-selected": false,
      };
      return make(
        "li",
        attributes,
        confusion,
        bar(this.regression ? size / largest : size),
        make("span", { className: "n", text }),
        make("span", { className: "id", text: this.board.clips[clip] }),
      );
    }

    select(place) {
      this.list.querySelector("[aria-selected=true]")?.setAttribute("aria-selected", "false");
      this.place = place;
      this.listAndClip.hidden = place < 0; // no empty boxes
      if (place < 0) {
        this.list.removeAttribute("aria-activedescendant");
        this.panel.replaceChildren();
        return;
      }
      while (place >= this.list.children.length) this.extendList();
      const option = this.list.children[place];
      option.setAttribute("aria-selected", "true");
      this.list.setAttribute("aria-activedescendant", option.id);
      const top = option.offsetTop;
      const bottom = top + option.offsetHeight;
      if (top < this.list.scrollTop) this.list.scrollTop = top;
      if (bottom > this.list.scrollTop + this.list.clientHeight) {
        this.list.scrollTop = bottom - this.list.clientHeight;
      }
      this.showClip(this.items[place]);
    }

    showClip(item) {
      const [clip, labels] = item;
      const { clips, files, wrongIn, scoredIn, sounds, silence } = this.board;
      const parts = [make("h4", {}, bdi(clips[clip]))];
      if (files[clip] && files[clip] !== clips[clip]) {
        parts.push(make("p", { className: "soft" }, bdi(files[clip])));
      }
      const sound = data.sounds[sounds[clip]];
      parts.push(
        sound
          ? make("audio", { controls: "", preload: "metadata", src: sound })
          : make("p", { className: "soft silence", text: silence }),
      );
      const facts = make("dl");
      const addFact = (name, ...content) =>
        facts.append(make("dt", { text: name }), make("dd", {}, ...content));
      if (!this.regression) {
        const names = (classes) => joinNames(classes.map((k) => this.className(k)));
        addFact("labeled", ...names(labels));
        addFact("predicted", ...names(this.predicted(item)));
      }
      if (this.board.runs.length > 1) {
        const kind = this.regression ? "among the largest errors" : "wrong";
        addFact("in all runs", `${kind} in ${wrongIn[clip]} of ${scoredIn[clip]}`);
      }
      parts.push(facts, this.regression ? this.makeNumbers(item) : this.makeScores(item));
      this.panel.replaceChildren(...parts);
    }

    makeScores(item) {
      const [, labels, classes, scores] = item;
      const predicted = this.predicted(item);
      const rows = classes.map((k, place) => {
        const kind = labels.includes(k) ? "label" : predicted.includes(k) ? "predicted" : "";
        return make(
          "li",
          { className: kind },
          make("span", {}, bdi(this.className(k)), kind === "label" ? " (its label)" : ""),
          make("span", { className: "n", text: percent(scores[place]) }),
          bar(scores[place]),
        );
      });
      return make("ol", { "aria-label": "scores" }, ...rows);
    }

    makeNumbers(item) {
      const [, targets, predictions] = item;
      const rows = targets.map((target, k) => {
        const text = `${threeDigits(target)} → ${threeDigits(predictions[k])}`;
        return make("li", {}, bdi(this.className(k)), make("span", { className: "n", text }));
      });
      return make("ol", { "aria-label": "numbers", className: "numbers" }, ...rows);
    }

    handleKey(event) {
      const last = this.items.length - 1;
      const place = {
        ArrowDown: Math.min(last, this.place + 1),
        ArrowUp: Math.max(0, this.place - 1),
        PageDown: Math.min(last, this.place + 10),
        PageUp: Math.max(0, this.place - 10),
        Home: 0,
        End: last,
      }[event.key];
      if (place !== undefined && last >= 0) {
        this.select(place);
      } else if (event.key === "Enter" || event.key === " ") {
        const audio = this.panel.querySelector("audio");
        if (audio) audio.paused ? audio.play() : audio.pause();
      } else {
        return;
      }
      event.preventDefault();
    }
  }

  for (const frame of document.querySelectorAll(".clip-browser")) new Browser(frame);
}
