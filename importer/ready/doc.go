// Package ready decides which versions of Deckhouse can be installed, or upgraded to, from given
// sources or a registry.
//
// The work has two steps. [Snapshot] and [Registry] gather [Facts]: which images the versions
// declare, and whether each is complete. [Judge] turns facts and a [Question] into a [Verdict].
// It is a pure function and returns its reasons as values: a command prints them, a server lists
// them, and an import refuses content because of them.
//
// Declarations are read by the same rules as in a pull (package release).
package ready
