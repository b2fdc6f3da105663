// Package deckhouse plans what a bundle gets from a Deckhouse source: releases by channels
// and constraints, the installers and the images that they name, vulnerability databases,
// modules and packages with their internal and extra images, plugins.
//
// Start with [Selection], which is a planner of a pull ([pull.Planner]). Its rules are those
// of the field's own tool, so that a bundle has the same tags and digests. What decides is
// apart from what asks: [chooseBuilds], [chooseInRange], [choosePlugins] and [part] are
// functions of facts, and return their reasons.
package deckhouse
