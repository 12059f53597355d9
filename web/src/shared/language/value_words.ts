/** How a field's value is written: numbers to the digits that matter, closed sets as words. */

import type { Value } from '@/shared/contract/contract'

/** A text of the page by its key; null when there is none. */
export type WordOf = (key: string) => string | null

/** At most four digits that matter and two behind the point: 0.42, 23.5, 1480. */
export function numberText(value: number): string {
  if (!Number.isFinite(value)) return '–'
  const size = Math.abs(value)
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : 2
  const text = value.toFixed(digits)
  const short = text.includes('.') ? text.replace(/\.?0+$/, '') : text
  return short === '-0' ? '0' : short
}

export function numberWithUnit(value: number, unit: string): string {
  const number = numberText(value)
  if (unit === '') return number
  return unit === '%' || unit === '°C' ? `${number}${unit}` : `${number} ${unit}`
}

/**
 * The value of a field in words. A word of the field goes before a word of all fields ("running: stopped" is
 * better than "running: no"); a text without any word is shown as the equipment sent it.
 */
export function valueText(field: string, value: Value, unit: string, wordOf: WordOf): string {
  if (typeof value === 'number') return numberWithUnit(value, unit)
  const word = String(value)
  // What is not a plain word came from outside and is no key of ours.
  if (!/^[a-z_]+$/.test(word)) return word
  return wordOf(`value.${field}.${word}`) ?? wordOf(`value.any.${word}`) ?? word
}
