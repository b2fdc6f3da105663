//go:build full

package acceptance

import (
	"testing"
	"time"
)

// Like TestReplicasOfAStoreInABucket, for two minutes with versitygw and a kill every 3 seconds.
func TestReplicasForTwoMinutes(t *testing.T) {
	c := startCluster(t, startVersity(t).objectStore)
	over := time.Now().Add(2 * time.Minute)
	c.run(t, 64, func() bool {
		select {
		case <-t.Context().Done():
			return false
		case <-time.After(3 * time.Second):
		}
		return time.Now().Before(over)
	})
	if c.kills < 20 {
		t.Errorf("%d kills in two minutes", c.kills)
	}
}
