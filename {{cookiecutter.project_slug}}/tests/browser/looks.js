// Run in a page by looks.py: everything about its looks that is wrong, as sentences.
() => {
  const found = [];
  const name = (e) => `${e.tagName.toLowerCase()}.${e.className || ''} "${(e.textContent || e.value || '').trim().slice(0, 30)}"`;
  const visible = (e) => e.checkVisibility({ visibilityProperty: true, opacityProperty: true, contentVisibilityAuto: true });
  if (document.documentElement.scrollWidth > innerWidth) found.push(`the page is ${document.documentElement.scrollWidth} wide`);
  const clipOf = (e) => {
    let box = { left: 0, top: 0, right: innerWidth, bottom: innerHeight };
    let fixed = false;
    for (let a = e; a && !fixed; a = a.parentElement) {
      const style = getComputedStyle(a);
      if (style.overflow !== 'visible') {
        const r = a.getBoundingClientRect();
        box = { left: Math.max(box.left, r.left), top: Math.max(box.top, r.top), right: Math.min(box.right, r.right), bottom: Math.min(box.bottom, r.bottom) };
      }
      fixed = style.position === 'fixed';
    }
    return box;
  };
  const layer = (e) => e.closest(':popover-open') ?? (document.querySelector(':popover-open') ? null : document.body);
  const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
  const over = ([r, g, b, a = 1], below) => [r, g, b].map((v, i) => v * a + below[i] * (1 - a));
  const ground = (e) => {
    const layers = [];
    for (let a = e; a; a = a.parentElement) {
      const colour = numbers(getComputedStyle(a).backgroundColor);
      layers.push(colour);
      if ((colour[3] ?? 1) === 1) break;
    }
    return layers.reverse().reduce((below, colour) => over(colour, below), [255, 255, 255]);
  };
  const light = (colour) => colour.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, e = node.parentElement;
    if (!node.data.trim() || !visible(e) || layer(e) === null || e.closest('script, template, noscript, .visually-hidden')) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const clip = clipOf(e);
    const rects = [...range.getClientRects()].map((r) => ({ left: Math.max(r.left, clip.left), top: Math.max(r.top, clip.top),
      right: Math.min(r.right, clip.right), bottom: Math.min(r.bottom, clip.bottom) })).filter((r) => r.right - r.left > 2 && r.bottom - r.top > 4);
    if (!rects.length) continue;
    texts.push({ e, rects });
    if (e.closest(':disabled')) continue;
    const style = getComputedStyle(e), behind = ground(e), front = over(numbers(style.color), behind);
    const [a, b] = [light(front), light(behind)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) found.push(`contrast ${ratio.toFixed(2)}: ${name(e)}`);
  }
  const floating = '.jump, .toast';
  for (let i = 0; i < texts.length; i++) for (let j = i + 1; j < texts.length; j++) {
    if (texts[i].e.closest(floating) || texts[j].e.closest(floating)) continue;
    for (const a of texts[i].rects) for (const b of texts[j].rects) {
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left), high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (wide > 3 && high > 5) found.push(`overlap ${Math.round(wide)}x${Math.round(high)}: ${name(texts[i].e)} and ${name(texts[j].e)}`);
    }
  }
  for (const e of document.querySelectorAll('button, a.button, input:not([type=hidden]), summary')) {
    if (!visible(e) || e.closest('.visually-hidden')) continue;
    const r = e.getBoundingClientRect();
    if (r.width < 24 || r.height < 24) found.push(`small ${Math.round(r.width)}x${Math.round(r.height)}: ${name(e)}`);
    const clip = clipOf(e.parentElement);
    if (r.top < clip.bottom && r.bottom > clip.top && (r.right > clip.right + 1 || r.left < clip.left - 1)) found.push(`sticks out: ${name(e)}`);
  }
  return [...new Set(found)];
}
