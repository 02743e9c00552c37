// Asks again every ten seconds while somebody can see it; after failures less and less often, and never in step with
// others.

const EVERY_S = 10;
const LONGEST_S = 300;

/** work: resolves to whether it went well. `next_s` is how long the wait is that has just begun. */
export class Poller {
  next_s = EVERY_S;
  #work;
  #timer = null;
  #failures = 0;
  #running = false;
  #seen = () => document.visibilityState === 'visible' && this.now();

  constructor(work) {
    this.#work = work;
  }

  start() {
    if (this.#running) return;
    this.#running = true;
    document.addEventListener('visibilitychange', this.#seen);
    this.now();
  }

  stop() {
    this.#running = false;
    clearTimeout(this.#timer);
    document.removeEventListener('visibilitychange', this.#seen);
  }

  /** Asks now, and then again in its time. */
  async now() {
    clearTimeout(this.#timer);
    if (!this.#running) return;
    const well = await this.#work(this.#failures + 1);
    this.#failures = well ? 0 : this.#failures + 1;
    clearTimeout(this.#timer);
    if (this.#running) this.#timer = setTimeout(() => document.visibilityState === 'visible' && this.now(), 1000 * this.next_s);
  }

  /** How long to wait after so many failures in a row (0: after none), and remembers it. */
  wait(failures) {
    const least = Math.min(EVERY_S * 2 ** Math.max(failures - 1, 0), LONGEST_S);
    this.next_s = failures ? Math.round(least * (0.75 + Math.random() / 2)) : EVERY_S;
    return this.next_s;
  }
}
