// Package ready decides which versions of Deckhouse can be installed from given sources or a registry, and to
// which versions a cluster can be upgraded.
//
// The work has two steps. First, [Snapshot] or [Registry] gathers [Facts]: the images that the versions
// declare, and whether each image is complete. Second, [Judge] answers a [Question] from these facts with a
// [Verdict]. The reasons of a verdict are values, which a command prints, a server lists, and an import uses
// to refuse content.
//
// Package release parses the declarations, as it does in a pull.
package ready
