/** Who is using this page. */

import { defineStore } from 'pinia'
import { ref, shallowRef } from 'vue'

import { fetchMe, logIn, logOut, RefusedError } from './api_client'
import type { Login, Me } from '@/shared/contract/people'

/** `unreachable`: the server has not answered yet, which is not the same as being logged out. */
export type SessionState = 'asking' | 'unreachable' | 'needs_login' | 'logged_in'

const UNAUTHENTICATED = 401

export const useSession = defineStore('session', () => {
  const state = ref<SessionState>('asking')
  const me = shallowRef<Me | null>(null)
  /** The session ended by itself, while the page was in use. */
  const expired = ref(false)

  async function open(): Promise<void> {
    try {
      enter(await fetchMe())
    } catch (error) {
      state.value = isUnauthenticated(error) ? 'needs_login' : 'unreachable'
    }
  }

  async function enterWith(login: Login): Promise<void> {
    enter(await logIn(login))
  }

  function may(act: string): boolean {
    return me.value?.permissions.includes(act) ?? false
  }

  async function leave(): Promise<void> {
    await logOut()
    expired.value = false
    forget()
  }

  /** Check whether the session is still valid; if not, show the login page with the reason. */
  async function verify(): Promise<void> {
    try {
      me.value = await fetchMe()
    } catch (error) {
      noteRefusal(error)
    }
  }

  /** Called for every refused request: a 401 means that the session has ended. */
  function noteRefusal(error: unknown): void {
    if (!isUnauthenticated(error) || state.value !== 'logged_in') return
    expired.value = true
    forget()
  }

  function enter(who: Me): void {
    me.value = who
    expired.value = false
    state.value = 'logged_in'
  }

  function forget(): void {
    me.value = null
    state.value = 'needs_login'
  }

  return { state, me, expired, open, enterWith, may, leave, verify, noteRefusal }
})

function isUnauthenticated(error: unknown): boolean {
  return error instanceof RefusedError && error.status === UNAUTHENTICATED
}
