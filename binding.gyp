{
  "targets": [
    {
      "target_name": "berth",
      "sources": [
        "native/addon.cc",
        "native/addon_agent.cc",
        "native/addon_network.cc",
        "native/addon_process.cc",
        "native/bridge.cc",
        "native/describe.cc",
        "native/exit.cc",
        "native/getsocks.cc",
        "native/handoff.cc",
        "native/netns.cc",
        "native/owners.cc",
        "native/parse_diag.cc",
        "native/parse_proc.cc",
        "native/portprogram.cc",
        "native/probe.cc",
        "native/procnet.cc",
        "native/server.cc",
        "native/service.cc",
        "native/sockets.cc",
        "native/sys.cc"
      ],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NAPI_DISABLE_CPP_EXCEPTIONS", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED"],
      "cflags": ["-Wall", "-Wextra", "-fvisibility=hidden"],
      "cflags_cc": ["-std=c++17", "-O2"]
    }
  ]
}
