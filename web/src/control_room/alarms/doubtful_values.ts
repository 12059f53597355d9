/** The text of the rule "sensor doubtful" about implausible values: "temperature -127 °C; humidity 6553.5 %". Pure. */

import type { ProfileBody } from '@/shared/contract/contract'

export const DOUBTFUL = 'doubtful'

/** The same with each field's label in place of its name on the wire, as far as the profile knows it. */
export function doubtfulWords(said: string, profile: ProfileBody | null, label: (name: ProfileBody['name']) => string): string {
  const named = (one: string): string => {
    const name = one.split(' ', 1)[0] ?? ''
    const field = profile?.fields.find((known) => known.name === name)
    return field ? `${label(field.label)}${one.slice(name.length)}` : one
  }
  return said.split('; ').map(named).join('; ')
}
