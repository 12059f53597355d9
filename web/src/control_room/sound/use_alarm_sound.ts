/** The room's alarm sound: wanted or not, allowed by the browser or not, silenced until something new comes. */

import { computed, onBeforeUnmount, onMounted, ref, shallowRef, watch } from 'vue'

import { useLive } from '@/shared/live/live_store'

import { LOST_CONNECTION, type SoundNeed, soundKeys, soundNeed } from './sound_need'
import { ToneMaker } from './tone'

const REMEMBERED = 'gengfu.sound'
const REPEAT_MS: Record<Exclude<SoundNeed, 'none'>, number> = { critical: 2_000, high: 4_000, connection_lost: 8_000 }

export function useAlarmSound() {
  const live = useLive()
  const wanted = ref(localStorage.getItem(REMEMBERED) !== 'off')
  const allowed = ref(false)
  const tones = new ToneMaker((ready) => {
    allowed.value = ready
  })
  const silenced = shallowRef<ReadonlySet<string>>(new Set())
  let timer = 0

  const need = computed(() => soundNeed(live.feed.alarms.values(), live.connection, silenced.value))
  const sounding = computed<SoundNeed>(() => (wanted.value && allowed.value ? need.value : 'none'))

  function allow(): void {
    if (wanted.value && !allowed.value) tones.enable()
  }

  /** Any click or key allows sound, except on the switch itself, which would then turn off what it has just turned on. */
  function allowByAnyAct(event: Event): void {
    if (event.target instanceof Element && event.target.closest('[data-sound-switch]')) return
    allow()
  }

  function toggle(): void {
    if (wanted.value && !allowed.value) {
      allow()
      return
    }
    wanted.value = !wanted.value
    localStorage.setItem(REMEMBERED, wanted.value ? 'on' : 'off')
    allow()
  }

  function silence(): void {
    silenced.value = soundKeys(live.feed.alarms.values(), live.connection)
  }

  function sound(): void {
    window.clearTimeout(timer)
    const now = sounding.value
    if (now === 'none') return
    tones.play(now)
    timer = window.setTimeout(sound, REPEAT_MS[now])
  }

  watch(sounding, sound)
  watch(
    () => live.connection,
    (connection) => {
      // The next loss of the connection is a new event.
      if (connection !== 'live' || !silenced.value.has(LOST_CONNECTION)) return
      silenced.value = new Set([...silenced.value].filter((key) => key !== LOST_CONNECTION))
    },
  )

  onMounted(() => {
    // On a wall screen that restarts nobody clicks: the browser decides whether it permits sound at once.
    allow()
    window.addEventListener('pointerup', allowByAnyAct)
    window.addEventListener('keydown', allowByAnyAct)
  })
  onBeforeUnmount(() => {
    window.clearTimeout(timer)
    tones.close()
    window.removeEventListener('pointerup', allowByAnyAct)
    window.removeEventListener('keydown', allowByAnyAct)
  })

  return { wanted, allowed, sounding, toggle, silence }
}

export type AlarmSound = ReturnType<typeof useAlarmSound>
