// Package prune decides what may go from a store, and removes it.
//
// The work has three steps. A [Pruner] gathers [Facts]: which manifests the indexes of the
// store name, what each leads to, and what the releases in it declare. [Decide] makes of them
// and a [Policy] one [Decision] per manifest that an index names: it stays or it goes, and why.
// It is a pure function. Package publish then carries out the [Plan] that follows from the
// decisions, as one generation.
//
// Decisions go one way: what is not provably superseded stays. A version goes only if a rule
// is about its repository, no rule keeps it, nothing that stays leads to it, and a higher
// version stays beside it. An image by digest goes only with the last release that declares it.
//
// Removal has two halves. At first manifests lose their tags, and stay available by digest, so
// that pulls which run can complete. When the grace period is over, a second generation removes
// them: see [Pruner.Sweep].
package prune
