//go:build full

package acceptance

import (
	"testing"
	"time"
)

// This test repeats TestPullsSucceedWhileReplicasAreKilled with versitygw, for two minutes. It
// kills a replica every 3 seconds.
func TestPullsSucceedWhileReplicasAreKilledForTwoMinutes(t *testing.T) {
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
		t.Errorf("the test killed %d replicas in two minutes, want at least 20", c.kills)
	}
}
