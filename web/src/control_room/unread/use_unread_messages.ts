/** Unreadable messages, polled every half minute: they change slowly, and urgent ones raise an alarm. */

import { onBeforeUnmount, onMounted, shallowRef } from 'vue'

import { fetchQuarantineSummary, fetchUnreadTopics } from '@/shared/api_client'
import type { QuarantineSummaryBody, UnreadTopicBody } from '@/shared/contract/quarantine'
import { useSession } from '@/shared/session_store'

const ASK_MS = 30_000

export function useUnreadMessages() {
  const session = useSession()
  const summary = shallowRef<QuarantineSummaryBody[]>([])
  const topics = shallowRef<UnreadTopicBody[]>([])
  let timer: number | null = null

  async function ask(): Promise<void> {
    try {
      summary.value = (await fetchQuarantineSummary()).items
      topics.value = session.may('read_quarantine') ? (await fetchUnreadTopics()).items : []
    } catch (error) {
      // What was shown before stays; that the gateway does not answer is shown by the connection mark.
      session.noteRefusal(error)
    }
  }

  onMounted(() => {
    void ask()
    timer = window.setInterval(() => void ask(), ASK_MS)
  })
  onBeforeUnmount(() => {
    if (timer !== null) window.clearInterval(timer)
  })

  return { summary, topics }
}
