/** The page of each address. */

import { createRouter, createWebHistory } from 'vue-router'

export const router = createRouter({
  history: createWebHistory(),
  routes: [
    { path: '/', name: 'control_room', component: () => import('@/control_room/ControlRoomPage.vue') },
    { path: '/account', name: 'account', component: () => import('@/people/AccountPage.vue') },
    { path: '/equipment', name: 'equipment', component: () => import('@/equipment/EquipmentPage.vue') },
    { path: '/people', name: 'people', component: () => import('@/people/PeoplePage.vue') },
    // An address that is not known any more still leads somewhere useful.
    { path: '/:rest(.*)*', redirect: { name: 'control_room' } },
  ],
})
