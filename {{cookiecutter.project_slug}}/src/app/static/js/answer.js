// One answer in the page: numbered items and an open tail of plain text.
import { frameCode } from "app/messages.js";
import { elementsFrom, setMarkup } from "app/trusted.js";

const STRUCTURED = /^\s*([-*+>|#]|\d+[.)])/m; // lines that mean something, unlike the wrapped lines of a paragraph
const FENCE = /^\s{0,3}(```|~~~)[^\n]*\n?/;

export class Answer {
  constructor(article) {
    this.article = article;
    this.body = article.querySelector(".answer-body");
    this.items = [...this.body.querySelectorAll(".item")];
    const tail = this.body.querySelector(".tail");
    this.text = tail ? tail.textContent : "";
    tail?.remove();
    this.tail = null;
    this.showTail();
  }

  apply({ set = [], tail, append }) {
    for (const [index, markup] of set) this.setItem(index, markup);
    this.text = tail ?? this.text + append;
    this.showTail();
  }

  replace({ items, tail }) {
    this.body.replaceChildren();
    this.items = [];
    this.tail = null;
    items.forEach((markup, index) => this.setItem(index, markup));
    this.text = tail;
    this.showTail();
  }

  // Nothing to read yet, or nothing since a tool has ended.
  get thinking() {
    const last = this.items.at(-1);
    return !this.tail && (!last || last.querySelector('.step:not([data-status="running"], [data-status="waiting"])') !== null);
  }

  finish(footer) {
    this.text = "";
    this.showTail();
    this.article.querySelector(".answer-footer").replaceChildren(elementsFrom(footer));
    this.article.removeAttribute("data-events");
  }

  setItem(index, markup) {
    let item = this.items[index];
    if (!item) {
      item = this.items[index] = document.createElement("div");
      item.className = "item";
      this.tail?.remove(); // the item takes its place; what follows is another text, in another element
      this.tail = null;
      this.body.append(item);
    }
    setMarkup(item, markup);
    frameCode(item.parentElement);
  }

  // The tail is text: a paragraph, or an open code fence shown as code.
  showTail() {
    const text = this.text.replace(/^\n+/, "");
    const fence = text.match(FENCE);
    const kind = text.trim() === "" ? "" : fence ? "PRE" : "P";
    if (this.tail?.tagName !== kind) {
      this.tail?.remove();
      this.tail = null;
      if (kind) {
        this.tail = document.createElement(kind);
        this.tail.className = "tail";
        this.tail.append("");
        this.body.append(this.tail);
      }
    }
    if (!this.tail) return;
    const flowing = STRUCTURED.test(text) ? text : text.replace(/\n(?!\n)/g, " ");
    this.tail.firstChild.data = fence ? text.slice(fence[0].length) : flowing;
  }
}
