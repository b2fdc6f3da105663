package layoutstore

import "sync"

// manifestCache bounds the bytes of manifests that nodes keep. Nodes are read
// without it: only keeping one more takes the lock.
type manifestCache struct {
	mu    sync.Mutex
	limit int
	used  int
	nodes []*node // oldest first
}

// add caches m in n, and evicts the oldest manifests.
func (c *manifestCache) add(n *node, m *Manifest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(m.Body) > c.limit || !n.cached.CompareAndSwap(nil, m) {
		return
	}
	c.used += len(m.Body)
	c.nodes = append(c.nodes, n)
	for c.used > c.limit {
		oldest := c.nodes[0]
		c.nodes[0], c.nodes = nil, c.nodes[1:]
		c.used -= len(oldest.cached.Swap(nil).Body)
	}
}
