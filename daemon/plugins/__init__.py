"""The daemon's side of plugins: states, registry snapshots, and the plugin-host child."""
