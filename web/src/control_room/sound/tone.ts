/** Plays short tones through WebAudio. Knows nothing of alarms. */

import type { SoundNeed } from './sound_need'

interface Note {
  hertz: number
  /** Seconds after the start of the tone. */
  at: number
  seconds: number
}

/** Distinguished by rhythm and pitch, without looking: three quick high, two, one long low. */
const TONES: Record<Exclude<SoundNeed, 'none'>, readonly Note[]> = {
  critical: [
    { hertz: 988, at: 0, seconds: 0.16 },
    { hertz: 784, at: 0.2, seconds: 0.16 },
    { hertz: 988, at: 0.4, seconds: 0.22 },
  ],
  high: [
    { hertz: 740, at: 0, seconds: 0.16 },
    { hertz: 740, at: 0.26, seconds: 0.16 },
  ],
  connection_lost: [{ hertz: 330, at: 0, seconds: 0.6 }],
}

const LOUDNESS = 0.25
const FADE_SECONDS = 0.02

export class ToneMaker {
  private context: AudioContext | null = null

  /** `onReady` receives whether the browser lets the page make sound, now and whenever that changes. */
  constructor(private readonly onReady: (ready: boolean) => void) {}

  /**
   * Request sound from the browser. It is granted at once where autoplay is permitted (a kiosk), otherwise after the first
   * click or key; the answer comes through `onReady`, because `resume()` may stay pending for ever.
   */
  enable(): void {
    this.context ??= this.open()
    void this.context.resume()
  }

  close(): void {
    void this.context?.close()
  }

  private get ready(): boolean {
    return this.context?.state === 'running'
  }

  private open(): AudioContext {
    const context = new AudioContext()
    context.addEventListener('statechange', () => {
      this.onReady(context.state === 'running')
    })
    return context
  }

  play(need: Exclude<SoundNeed, 'none'>): void {
    const context = this.context
    if (!context || !this.ready) return
    for (const note of TONES[need]) playNote(context, note)
  }
}

function playNote(context: AudioContext, note: Note): void {
  const start = context.currentTime + note.at
  const end = start + note.seconds
  const oscillator = new OscillatorNode(context, { type: 'triangle', frequency: note.hertz })
  const gain = new GainNode(context, { gain: 0 })
  // Without a fade each note begins and ends with a click of the loudspeaker.
  gain.gain.setValueAtTime(0, start)
  gain.gain.linearRampToValueAtTime(LOUDNESS, start + FADE_SECONDS)
  gain.gain.setValueAtTime(LOUDNESS, end - FADE_SECONDS)
  gain.gain.linearRampToValueAtTime(0, end)
  oscillator.connect(gain).connect(context.destination)
  oscillator.start(start)
  oscillator.stop(end)
}
