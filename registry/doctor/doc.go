// Package doctor pulls from a running registry step by step, as containerd would, and
// reports what is wrong and what to do about it.
//
// # Where to start
//
// [Run] takes the URL of a registry, and optionally the name of an image, and returns a
// [Report]: one [Step] per check, in the order of [Names].
//
// # What it promises
//
// It sends the requests of a pull (distribution specification 1.1, "Pull"), with the same
// headers. It reports every redirect to another host, retries nothing, and never pulls a
// complete layer: it reads a part of the largest one. A step that depends on a failed one
// is skipped, and names it. The steps about the node (hosts.toml and containerd) depend on
// none. A report contains no password or token, and the login is sent only as for a push,
// see [client.Client.LogIn].
package doctor
