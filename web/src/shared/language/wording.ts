/** What pages need to speak: texts in the chosen language, ages, values and refusals as words. */

import { useI18n } from 'vue-i18n'

import { ageOf, ageText, coarseAgeOf } from '@/shared/times/ages'
import { RefusedError } from '@/shared/api_client'
import type { Texts, TicketBody, Value } from '@/shared/contract/contract'
import { type Language, textIn } from './language_choice'
import { valueText } from './value_words'

export function useWording() {
  const i18n = useI18n()
  const say = (key: string, named: Record<string, unknown> = {}): string => i18n.t(key, named)
  const wordOf = (key: string): string | null => (i18n.te(key) ? i18n.t(key) : null)

  return {
    say,
    text: (texts: Texts): string => textIn(texts, i18n.locale.value as Language),
    age: (milliseconds: number): string => ageText(ageOf(milliseconds), say),
    coarseAge: (milliseconds: number): string => ageText(coarseAgeOf(milliseconds), say),
    value: (field: string, value: Value, unit: string): string => valueText(field, value, unit, wordOf),
    /** A state that this page does not know is shown as the gateway names it: better odd than absent. */
    ticketState: (ticket: TicketBody): string =>
      (ticket.type === 'emergency' ? wordOf(`emergencyState.${ticket.state}`) : null) ??
      wordOf(`ticketState.${ticket.state}`) ??
      ticket.state,
    approvedAct: (act: string): string => wordOf(`approvals.act.${act}`) ?? act,
    approvedField: (field: string): string => wordOf(`approvals.field.${field}`) ?? field,
    /** Why what was approved could not be done: a problem's code, or a reason of its own. */
    outcome: (code: string): string => wordOf(`approvals.outcome.${code}`) ?? wordOf(`problem.${code}`) ?? code,
    quarantineReason: (code: string): string => wordOf(`unread.reason.${code}`) ?? code,
    systemComponent: (component: string): string => wordOf(`system.component.${component}`) ?? component,
    refusal: (error: unknown): string => {
      if (!(error instanceof RefusedError)) return String(error)
      return wordOf(`problem.${error.code}`) ?? (error.detail === '' ? error.code : error.detail)
    },
  }
}

export type Wording = ReturnType<typeof useWording>
