/** Shelving (搁置) and taking back: one request, and its result in words. Nothing is shown as done before it is. */

import { computed } from 'vue'

import { shelveAlarm, unshelveAlarm } from '@/shared/api_client'
import type { AlarmBody } from '@/shared/contract/contract'
import { useLive } from '@/shared/live/live_store'
import { noteDone, noteRefused } from '@/shared/notice'
import { useSession } from '@/shared/session_store'
import type { Shelve } from '@/shared/contract/suppression'
import { useWording } from '@/shared/language/wording'

export function useShelving() {
  const live = useLive()
  const session = useSession()
  const { say, text, refusal } = useWording()
  const permitted = computed(() => session.may('shelve_alarm'))
  /** Life safety needs approval by a second person, as the answer states. */
  const permits = (alarm: AlarmBody): boolean =>
    permitted.value && (!alarm.life_safety || session.may('quiet_life_safety'))

  async function settle(alarm: AlarmBody, act: Promise<AlarmBody>, done: string): Promise<void> {
    const title = text(alarm.title)
    try {
      live.takeAlarm(await act)
      noteDone(say(done, { title }))
    } catch (error) {
      session.noteRefusal(error)
      noteRefused('error', say('shelving.refused', { title }), refusal(error))
    }
  }

  const shelve = (alarm: AlarmBody, wanted: Omit<Shelve, 'version'>): Promise<void> =>
    settle(alarm, shelveAlarm(alarm.id, { version: alarm.version, ...wanted }), 'shelving.done')
  const takeBack = (alarm: AlarmBody): Promise<void> =>
    settle(alarm, unshelveAlarm(alarm.id, alarm.version), 'shelving.takenBack')

  return { permitted, permits, shelve, takeBack }
}
