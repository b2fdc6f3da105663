// Package ready decides which versions of Deckhouse can be installed, or upgraded to, from given
// sources or a registry.
//
// The work has two steps. [Snapshot] and [Registry] gather [Facts]: the images that the versions
// declare, and whether each is complete. [Judge], a pure function, turns facts and a [Question] into
// a [Verdict] with its reasons as values: a command prints them, a server lists them, and an import
// refuses content because of them.
//
// Package release parses declarations, here as in a pull.
package ready
