type Child = Node | string;

interface Props {
  readonly class?: string;
  /** Attributes by name, such as aria-label. */
  readonly attributes?: Readonly<Record<string, string>>;
  readonly onClick?: () => void;
}

/** Creates an element. Texts become text nodes: nothing that tenants write is ever parsed as markup. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (props.class !== undefined) element.className = props.class;
  for (const [name, value] of Object.entries(props.attributes ?? {})) element.setAttribute(name, value);
  if (props.onClick) element.addEventListener("click", props.onClick);
  element.append(...children);
  return element;
}

/** Creates an element of an image. */
export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string>>,
): SVGElementTagNameMap[K] {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** The element of the page with this selector. @throws {Error} if there is none. */
export function find<T extends Element = HTMLElement>(selector: string, within: ParentNode = document): T {
  const element = within.querySelector<T>(selector);
  if (!element) throw new Error(`The page has no ${selector}`);
  return element;
}

/** Replaces a text only if it differs: an equal text would be laid out again. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** A list whose elements follow rows with keys. Elements of rows that have not changed stay as they are. */
export interface KeyedList<T> {
  /** @param rows in the order in which they are shown. */
  show(rows: readonly (readonly [key: string, row: T])[]): void;
}

export function keyedList<T>(list: Element, render: (row: T) => HTMLElement): KeyedList<T> {
  const shown = new Map<string, { row: T; element: HTMLElement }>();
  return {
    show(rows) {
      const keys = new Set(rows.map(([key]) => key));
      for (const [key, { element }] of shown) {
        if (keys.has(key)) continue;
        element.remove();
        shown.delete(key);
      }
      let next = list.firstElementChild;
      for (const [key, row] of rows) {
        let known = shown.get(key);
        if (!known) {
          known = { row, element: render(row) };
          shown.set(key, known);
        } else if (known.row !== row) {
          const element = render(row);
          const wasNext = known.element === next;
          replace(known.element, element);
          if (wasNext) next = element;
          Object.assign(known, { row, element });
        }
        if (known.element === next) next = next.nextElementSibling;
        else list.insertBefore(known.element, next);
      }
    },
  };
}

/** Replaces an element, and keeps the focus on what has the same data-key. */
export function replace(before: HTMLElement, after: HTMLElement): void {
  const key = before.contains(document.activeElement)
    ? document.activeElement?.closest<HTMLElement>("[data-key]")?.dataset.key
    : undefined;
  before.replaceWith(after);
  if (key === undefined) return;
  const all = [after, ...after.querySelectorAll<HTMLElement>("[data-key]")];
  all.find((each) => each.dataset.key === key)?.focus();
}
