package deckhouse_test

import (
	"testing"

	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
)

func TestMain(m *testing.M) { pulltest.Main(m) }
