/** Acknowledging (接警), silencing (消音) and resetting (复位): one request, its waiting, its result in words. Nothing is shown as done before it is. */

import { computed, shallowReactive } from 'vue'

import { acknowledgeAlarm, fetchAlarm, RefusedError, resetAlarm, silenceAlarm } from '@/shared/api_client'
import type { AlarmBody } from '@/shared/contract/contract'
import { useLive } from '@/shared/live/live_store'
import { noteDone, noteRefused } from '@/shared/notice'
import { useSession } from '@/shared/session_store'
import { useWording } from '@/shared/language/wording'

const CONFLICT = 409
type Words = 'acknowledged' | 'silenced' | 'reset'

export function useAcknowledging() {
  const live = useLive()
  const session = useSession()
  const { say, text, refusal } = useWording()
  const pending = shallowReactive(new Set<string>())
  const permitted = computed(() => session.may('acknowledge_alarm'))
  const mayReset = computed(() => session.may('reset_alarm'))
  const maySilence = computed(() => session.may('silence_alarm'))

  async function acknowledge(alarm: AlarmBody): Promise<void> {
    if (permitted.value) await send(alarm, 'acknowledged', acknowledgeAlarm)
  }

  async function silence(alarm: AlarmBody): Promise<void> {
    if (maySilence.value) await send(alarm, 'silenced', silenceAlarm)
  }

  async function reset(alarm: AlarmBody): Promise<void> {
    if (mayReset.value) await send(alarm, 'reset', resetAlarm)
  }

  /** `words` names the texts of the result. */
  async function send(alarm: AlarmBody, words: Words, act: typeof acknowledgeAlarm): Promise<void> {
    if (pending.has(alarm.id)) return
    pending.add(alarm.id)
    const title = text(alarm.title)
    try {
      live.takeAlarm(await act(alarm.id, { version: alarm.version, note: '' }))
      noteDone(say(`${words}.done`, { title }))
    } catch (error) {
      await explain(error, alarm.id, title, words)
    } finally {
      pending.delete(alarm.id)
    }
  }

  async function explain(error: unknown, id: string, title: string, words: Words): Promise<void> {
    session.noteRefusal(error)
    if (error instanceof RefusedError && error.status === CONFLICT) await refresh(id)
    if (error instanceof RefusedError && error.code === 'stale_version') {
      noteRefused('warning', say(`${words}.changedTitle`), say(`${words}.changed`, { title }))
    } else {
      noteRefused('error', say(`${words}.refusedTitle`, { title }), refusal(error))
    }
  }

  /** The feed sends the change as well, but the text "the list is up to date" must be true when it appears. */
  async function refresh(id: string): Promise<void> {
    try {
      live.takeAlarm((await fetchAlarm(id)).alarm)
    } catch {
      // The feed stays the way by which the change arrives.
    }
  }

  return { pending, permitted, maySilence, mayReset, acknowledge, silence, reset }
}
