// Package doctor pulls through a running registry step by step, as containerd would,
// and says what is wrong and what to do about it.
//
// # Where to start
//
// [Run] takes the URL of a registry, and perhaps the name of an image, and returns a
// [Report]: one [Step] for each thing that was looked at, in the order of [Names].
//
// # What it promises
//
// It asks what a pull asks (distribution specification 1.1, "Pull"), with the same
// headers, follows no redirect to another place without saying so, tries nothing
// twice, and never pulls a layer: of the largest it reads a part. A step that rests on
// one that failed is skipped, and says on which. The steps of the node (hosts.toml and
// containerd) rest on none. No password or token is in a report; and what
// we log in with is shown by the rules of a push, see [client.Client.LogIn].
package doctor
