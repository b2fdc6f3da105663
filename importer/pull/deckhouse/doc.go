// Package deckhouse plans the content of a bundle from a Deckhouse source: releases by channels and
// constraints, the installers and the images that they name, vulnerability databases, modules and
// packages with their internal and extra images, and plugins.
//
// Start with [Selection], which is a planner of a pull ([pull.Planner]). Its rules are those of
// d8 mirror pull, so that a bundle has the same tags and digests. Decisions are separate from
// requests: [chooseBuilds], [chooseInRange], [choosePlugins] and [part] are pure functions that
// return their reasons.
package deckhouse
