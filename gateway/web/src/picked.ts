// A wheel and its signature, among files that were chosen or dropped together.

export interface Named {
  name: string;
}

export interface Picked<T extends Named> {
  wheel: T;
  signature: T | null;
}

const SUFFIX = '.sig';
const LONGEST = 512;

/** The wheel, and the .sig file that belongs to it; null without a wheel. */
export function pickedOf<T extends Named>(files: Iterable<T>): Picked<T> | null {
  const all = [...files];
  const wheel = all.find(({ name }) => !name.endsWith(SUFFIX));
  if (!wheel) return null;
  const signature = all.find(({ name }) => name === wheel.name + SUFFIX) ?? all.find(({ name }) => name.endsWith(SUFFIX));
  return { wheel, signature: signature ?? null };
}

/** What a .sig file says, as a header can hold it. What is no line of text at all becomes '?', for the gateway to refuse. */
export function lineOf(text: string): string {
  const line = text.trim();
  return line.length <= LONGEST && /^[\x20-\x7e]+$/.test(line) ? line : '?';
}
