/** Acknowledging (接警): one request, its waiting, and its result in words. Nothing is shown as done before it is. */

import { computed, shallowReactive } from 'vue'

import { acknowledgeAlarm, fetchAlarm, RefusedError } from '@/shared/api_client'
import type { AlarmBody } from '@/shared/contract'
import { useLive } from '@/shared/live_store'
import { noteDone, noteRefused } from '@/shared/notice'
import { useSession } from '@/shared/session_store'
import { useWording } from '@/shared/wording'

const CONFLICT = 409

export function useAcknowledging() {
  const live = useLive()
  const session = useSession()
  const { say, text, refusal } = useWording()
  const pending = shallowReactive(new Set<string>())
  const permitted = computed(() => session.may('acknowledge_alarm'))

  async function acknowledge(alarm: AlarmBody): Promise<void> {
    if (!permitted.value || pending.has(alarm.id)) return
    pending.add(alarm.id)
    const title = text(alarm.title)
    try {
      live.takeAlarm(await acknowledgeAlarm(alarm.id, { version: alarm.version, note: '' }))
      noteDone(say('acknowledged.done', { title }))
    } catch (error) {
      await explain(error, alarm.id, title)
    } finally {
      pending.delete(alarm.id)
    }
  }

  async function explain(error: unknown, id: string, title: string): Promise<void> {
    session.noteRefusal(error)
    if (error instanceof RefusedError && error.status === CONFLICT) await refresh(id)
    if (error instanceof RefusedError && error.code === 'stale_version') {
      noteRefused('warning', say('acknowledged.changedTitle'), say('acknowledged.changed', { title }))
    } else {
      noteRefused('error', say('acknowledged.refusedTitle', { title }), refusal(error))
    }
  }

  /** The feed tells of the change as well, but the words "the list is up to date" must be true when they appear. */
  async function refresh(id: string): Promise<void> {
    try {
      live.takeAlarm((await fetchAlarm(id)).alarm)
    } catch {
      // The feed stays the way by which the change arrives.
    }
  }

  return { pending, permitted, acknowledge }
}
