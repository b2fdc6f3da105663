// Package doctor pulls from a running registry step by step, as containerd would, and
// reports what is wrong and what to do about it.
//
// # Where to start
//
// [Run] takes the URL of a registry, and optionally the name of an image, and returns a
// [Report]: one [Step] per check, always the same ones in the same order.
//
// # What it promises
//
// It sends the requests of a pull (distribution specification 1.1, "Pull"), with the same headers.
// It reports every redirect to another host, retries nothing, and never pulls a complete layer, but
// reads a part of the largest one. A step that depends on a failed step is skipped, and names that
// step. The steps about the node (hosts.toml and containerd) depend on no other. A report contains
// no password or token. For where a login is sent, see [client.Client.LogIn].
package doctor
