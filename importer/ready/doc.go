// Package ready judges which versions of Deckhouse can be installed, or upgraded to, from
// what is here: sources of image layouts, or a registry.
//
// The work has two halves. [Snapshot] and [Registry] gather [Facts]: which images the
// versions declare, and how much of each is there. [Judge] turns facts and a [Question] into
// a [Verdict]. It is a pure function, and each of its reasons is a value: a command prints
// them, a server lists them, an import refuses content for them.
//
// What a version declares is read by the rules that a pull goes by (package release).
package ready
