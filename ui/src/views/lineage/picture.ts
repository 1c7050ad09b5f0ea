/** A drawn SVG as a PNG: what the style sheet says is written into it first. */

import { save } from "../../export";
import { ink } from "../../ink";

const LOOKS = ["fill", "stroke", "stroke-width", "font-size", "font-weight", "font-family", "opacity"] as const;

/** Saves an SVG of this page as a picture with a title. */
export async function picture(name: string, title: string, svg: SVGSVGElement): Promise<void> {
  const copy = svg.cloneNode(true) as SVGSVGElement;
  const drawn = svg.querySelectorAll("*");
  copy.querySelectorAll("*").forEach((part, place) => {
    const real = drawn[place];
    if (!real) return;
    const look = getComputedStyle(real);
    for (const one of LOOKS) part.setAttribute(one, look.getPropertyValue(one));
  });
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const width = svg.width.baseVal.value;
  const height = svg.height.baseVal.value;
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(copy))}`;
  await image.decode();
  const ratio = Math.min(2, Math.max(1, devicePixelRatio));
  const canvas = document.createElement("canvas");
  canvas.width = (width + 32) * ratio;
  canvas.height = (height + 56) * ratio;
  const ctx = canvas.getContext("2d");
  if (!ctx) return;
  ctx.scale(ratio, ratio);
  ctx.fillStyle = ink("--surface");
  ctx.fillRect(0, 0, canvas.width, canvas.height);
  ctx.fillStyle = ink("--ink");
  ctx.font = "600 13px system-ui, sans-serif";
  ctx.fillText(title, 16, 24);
  ctx.drawImage(image, 16, 40, width, height);
  const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/png"));
  if (blob) save(name, blob);
}
