// Stays at the bottom while new text arrives, unless the reader has scrolled away.
const NEAR = 48; // pixels

export class Scroller {
  constructor(element, jump) {
    this.element = element;
    this.pinned = true;
    element.addEventListener("scroll", () => {
      this.pinned = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR;
      jump.hidden = this.pinned;
    });
    jump.addEventListener("click", () => this.toEnd());
    new ResizeObserver(() => this.follow()).observe(element);
  }

  follow() {
    if (this.pinned) this.element.scrollTop = this.element.scrollHeight;
  }

  toEnd() {
    this.pinned = true;
    this.follow();
  }
}
