/** 无法解读的消息、无人读取的主题、不可能的读数。 */

const zhCN = {
  unread: {
    title: '近24小时无法解读的消息',
    site: '{site}：{n} 条',
    noSite: '项目不明',
    topics: '无人读取的主题：{n} 个',
    what: '可能涉及生命安全的已单独报警；其余请告知管理员。',
    topicsWhat: '有设备在这些主题上发布消息，但标准协议和映射都不读取。',
    times: '{n} 条消息',
    reason: {
      bad_topic: '主题无法识别',
      no_mapping: '没有映射读取此主题',
      too_large: '消息过大',
      empty: '消息为空',
      bad_encoding: '编码无法识别',
      not_json: '不是 JSON',
      not_object: '不是对象',
      no_fields: '没有已知字段',
      duplicate_key: '字段名重复',
      too_many_fields: '字段过多',
      bad_field: '有字段无法解读',
      unknown_choice: '取值无法识别',
      too_many_samples: '采样过多',
      bad_time: '时间无法识别',
      refused_by_store: '历史库拒收',
      not_decided: '未能判断',
      left_out: '有字段未被读取',
    },
    implausible: '该读数不可能为真：请检查传感器、接线和单位换算。',
  },
}

export default zhCN
