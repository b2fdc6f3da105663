// Package deckhouse plans the content of a bundle from a Deckhouse source. It chooses releases by
// channels and constraints, and adds the installers and the images that the installers list. It
// also plans vulnerability databases, plugins, and modules and packages with their internal and
// extra images.
//
// Start with [Selection], which is a [pull.Planner]. Its rules are those of d8 mirror pull, so that
// a bundle has the same tags and digests. Decisions are separate from requests: [chooseBuilds],
// [chooseInRange], [choosePlugins] and [part] are pure functions that also return their reasons.
package deckhouse
