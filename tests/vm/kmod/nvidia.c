// SPDX-License-Identifier: GPL-2.0
/*
 * A stand-in for NVIDIA's host driver in the test guest: a PCI driver called
 * "nvidia" for display-class 10de functions. It behaves like the real one in
 * what a node daemon can see:
 *
 *  - /proc/driver/nvidia/gpus/<bdf>/information ("Device Minor: N") and
 *    unbindLock: 1 can be written, and is read back, only without clients, and
 *    keeps new ones out;
 *  - /dev/nvidiaN; while someone has it open, remove waits, uninterruptibly;
 *  - sriov_numvfs creates VFs;
 *  - vGPU types as mdev types (on VFs and on functions without SR-IOV, or on
 *    the PF), or in the vendor-VFIO way (VF/nvidia/current_vgpu_type).
 *
 * Parameters: see MODULE_PARM_DESC below.
 */
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/iommu.h>
#include <linux/mdev.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>
#include <linux/vfio.h>

#define N_TYPES 4
#define TOTAL_FB 49152 /* MiB */
#define MAX_MINORS 32

static int fail_probe;
module_param(fail_probe, int, 0644);
MODULE_PARM_DESC(fail_probe, "errno with which every probe fails, 0 = none");
static int slow_remove_ms;
module_param(slow_remove_ms, int, 0644);
MODULE_PARM_DESC(slow_remove_ms, "how long remove takes");
static int hold_remove = -1;
module_param(hold_remove, int, 0644);
MODULE_PARM_DESC(hold_remove, "remove of the GPU with this minor waits, uninterruptibly, while this is set; -1 = of none");
static bool lying_lock;
module_param(lying_lock, bool, 0644);
MODULE_PARM_DESC(lying_lock, "unbindLock is given also while there are clients");
static bool mdev;
module_param(mdev, bool, 0644);
MODULE_PARM_DESC(mdev, "vGPU types as mdev types on VFs and on functions without SR-IOV");
static bool mdev_on_pf;
module_param(mdev_on_pf, bool, 0644);
MODULE_PARM_DESC(mdev_on_pf, "vGPU types as mdev types on every function");
static bool vendor_vfio;
module_param(vendor_vfio, bool, 0444);
MODULE_PARM_DESC(vendor_vfio, "vGPU types in nvidia/current_vgpu_type of VFs");

struct vgpu_type {
	struct mdev_type mdev;
	u32 id, fb;
	const char *name;
};

static const struct vgpu_type type_table[N_TYPES] = {
	{ .id = 1147, .fb = 1024, .name = "NVIDIA L40S-1Q", .mdev.sysfs_name = "1147", .mdev.pretty_name = "NVIDIA L40S-1Q" },
	{ .id = 1152, .fb = 8192, .name = "NVIDIA L40S-8Q", .mdev.sysfs_name = "1152", .mdev.pretty_name = "NVIDIA L40S-8Q" },
	{ .id = 1155, .fb = 24576, .name = "NVIDIA L40S-24Q", .mdev.sysfs_name = "1155", .mdev.pretty_name = "NVIDIA L40S-24Q" },
	{ .id = 1156, .fb = 49152, .name = "NVIDIA L40S-48Q", .mdev.sysfs_name = "1156", .mdev.pretty_name = "NVIDIA L40S-48Q" },
};

struct gpu {
	struct pci_dev *pci;
	struct mutex lock;

	/* the character device and its gate */
	int minor; /* -1: a VF, which has none */
	char node[16];
	struct miscdevice misc;
	struct proc_dir_entry *proc;
	unsigned int users;
	bool unbind_lock, removing;

	/* mdev parent */
	struct mdev_parent parent;
	struct vgpu_type types[N_TYPES];
	struct mdev_type *type_list[N_TYPES];
	struct vgpu_type *used;
	u32 fb_left;
	int n_instances;
	bool is_parent;

	/* vendor-VFIO VF */
	struct vgpu *vgpu;
	u32 vgpu_type;
	bool has_vgpu_files;
};

/* One VFIO device: of an mdev instance or of a vendor-VFIO VF. */
struct vgpu {
	struct vfio_device vdev;
	struct gpu *gpu;
	struct vgpu_type *type; /* NULL: vendor-VFIO */
	u8 config[256];
};

static DEFINE_MUTEX(minors_lock);
static bool minors[MAX_MINORS];
static struct proc_dir_entry *proc_driver, *proc_gpus;

/* ---- VFIO device shared by both kinds ---- */

static void vgpu_fill_config(struct vgpu *v)
{
	*(__le16 *)(v->config + PCI_VENDOR_ID) = cpu_to_le16(0x10de);
	*(__le16 *)(v->config + PCI_DEVICE_ID) = cpu_to_le16(0x26b9);
	*(__le16 *)(v->config + PCI_CLASS_DEVICE) = cpu_to_le16(0x0302);
}

static int vgpu_init(struct vfio_device *vdev)
{
	struct vgpu *v = container_of(vdev, struct vgpu, vdev);
	struct mdev_device *m = to_mdev_device(vdev->dev);
	struct gpu *g = container_of(m->type->parent, struct gpu, parent);
	int ret = 0;

	v->gpu = g;
	v->type = container_of(m->type, struct vgpu_type, mdev);
	mutex_lock(&g->lock);
	if ((g->used && g->used != v->type) || g->fb_left < v->type->fb) {
		ret = -ENOSPC;
	} else {
		g->used = v->type;
		g->fb_left -= v->type->fb;
		g->n_instances++;
	}
	mutex_unlock(&g->lock);
	vgpu_fill_config(v);
	return ret;
}

static void vgpu_release(struct vfio_device *vdev)
{
	struct vgpu *v = container_of(vdev, struct vgpu, vdev);
	struct gpu *g = v->gpu;

	if (v->type) {
		mutex_lock(&g->lock);
		g->fb_left += v->type->fb;
		if (!--g->n_instances)
			g->used = NULL;
		mutex_unlock(&g->lock);
	}
	vfio_free_device(vdev);
}

static int vf_vgpu_init(struct vfio_device *vdev)
{
	vgpu_fill_config(container_of(vdev, struct vgpu, vdev));
	return 0;
}

static ssize_t vgpu_read(struct vfio_device *vdev, char __user *buf, size_t n, loff_t *at)
{
	struct vgpu *v = container_of(vdev, struct vgpu, vdev);

	if (*at < 0 || *at >= sizeof(v->config))
		return -EINVAL;
	n = min_t(size_t, n, sizeof(v->config) - *at);
	if (copy_to_user(buf, v->config + *at, n))
		return -EFAULT;
	*at += n;
	return n;
}

static ssize_t vgpu_write(struct vfio_device *vdev, const char __user *buf, size_t n, loff_t *at)
{
	*at += n;
	return n;
}

static long vgpu_device_info(void __user *user)
{
	struct vfio_device_info info;
	size_t size = offsetofend(struct vfio_device_info, num_irqs);

	if (copy_from_user(&info, user, size))
		return -EFAULT;
	if (info.argsz < size)
		return -EINVAL;
	info.flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
	info.num_regions = VFIO_PCI_NUM_REGIONS;
	info.num_irqs = VFIO_PCI_NUM_IRQS;
	return copy_to_user(user, &info, size) ? -EFAULT : 0;
}

static long vgpu_region_info(void __user *user)
{
	struct vfio_region_info info;
	size_t size = offsetofend(struct vfio_region_info, offset);

	if (copy_from_user(&info, user, size))
		return -EFAULT;
	if (info.argsz < size || info.index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;
	info.flags = 0;
	info.size = 0;
	info.offset = 0;
	if (info.index == VFIO_PCI_CONFIG_REGION_INDEX) {
		info.size = sizeof_field(struct vgpu, config);
		info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	}
	return copy_to_user(user, &info, size) ? -EFAULT : 0;
}

static long vgpu_ioctl(struct vfio_device *vdev, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case VFIO_DEVICE_GET_INFO:
		return vgpu_device_info((void __user *)arg);
	case VFIO_DEVICE_GET_REGION_INFO:
		return vgpu_region_info((void __user *)arg);
	case VFIO_DEVICE_RESET:
		return 0;
	default:
		return -ENOTTY;
	}
}

static const struct vfio_device_ops mdev_ops = {
	.name = "nvidia-vgpu-vfio",
	.init = vgpu_init,
	.release = vgpu_release,
	.read = vgpu_read,
	.write = vgpu_write,
	.ioctl = vgpu_ioctl,
};

static const struct vfio_device_ops vf_ops = {
	.name = "nvidia-vgpu-vfio",
	.init = vf_vgpu_init,
	.release = vgpu_release,
	.read = vgpu_read,
	.write = vgpu_write,
	.ioctl = vgpu_ioctl,
};

/* ---- mdev ---- */

static unsigned int mdev_available(struct mdev_type *t)
{
	struct gpu *g = container_of(t->parent, struct gpu, parent);
	struct vgpu_type *v = container_of(t, struct vgpu_type, mdev);

	return g->used && g->used != v ? 0 : g->fb_left / v->fb;
}

static ssize_t mdev_description(struct mdev_type *t, char *buf)
{
	struct vgpu_type *v = container_of(t, struct vgpu_type, mdev);

	return sysfs_emit(buf, "num_heads=4, frl_config=60, framebuffer=%uM, max_resolution=7680x4320, max_instance=%u\n",
			  v->fb, TOTAL_FB / v->fb);
}

static int mdev_probe(struct mdev_device *m)
{
	struct vgpu *v;
	int ret;

	v = vfio_alloc_device(vgpu, vdev, &m->dev, &mdev_ops);
	if (IS_ERR(v))
		return PTR_ERR(v);
	ret = vfio_register_emulated_iommu_dev(&v->vdev);
	if (ret)
		vfio_put_device(&v->vdev);
	else
		dev_set_drvdata(&m->dev, v);
	return ret;
}

static void mdev_remove(struct mdev_device *m)
{
	struct vgpu *v = dev_get_drvdata(&m->dev);

	vfio_unregister_group_dev(&v->vdev);
	vfio_put_device(&v->vdev);
}

static struct mdev_driver mdev_driver = {
	.device_api = VFIO_DEVICE_API_PCI_STRING,
	.probe = mdev_probe,
	.remove = mdev_remove,
	.get_available = mdev_available,
	.show_description = mdev_description,
	.driver = {
		.name = "nvidia-vgpu-vfio",
		.owner = THIS_MODULE,
		.mod_name = KBUILD_MODNAME,
	},
};

/* ---- vendor-VFIO: files in <VF>/nvidia ---- */

static struct gpu *gpu_of(struct device *dev)
{
	return pci_get_drvdata(to_pci_dev(dev));
}

static ssize_t creatable_vgpu_types_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct gpu *g = gpu_of(dev);
	ssize_t n = sysfs_emit(buf, "ID    : vGPU Name\n");
	int i;

	for (i = 0; i < N_TYPES && !g->vgpu_type; i++)
		n += sysfs_emit_at(buf, n, "%-5u : %s\n", type_table[i].id, type_table[i].name);
	return n;
}
static DEVICE_ATTR_RO(creatable_vgpu_types);

static ssize_t current_vgpu_type_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", gpu_of(dev)->vgpu_type);
}

/* With the caller holding @g->lock. */
static int vgpu_create(struct gpu *g)
{
	struct vgpu *v;
	int ret;

	v = vfio_alloc_device(vgpu, vdev, &g->pci->dev, &vf_ops);
	if (IS_ERR(v))
		return PTR_ERR(v);
	v->gpu = g;
	ret = vfio_register_group_dev(&v->vdev);
	if (ret)
		vfio_put_device(&v->vdev);
	else
		g->vgpu = v;
	return ret;
}

static void vgpu_destroy(struct gpu *g)
{
	if (!g->vgpu)
		return;
	vfio_unregister_group_dev(&g->vgpu->vdev);
	vfio_put_device(&g->vgpu->vdev);
	g->vgpu = NULL;
	g->vgpu_type = 0;
}

static ssize_t current_vgpu_type_store(struct device *dev, struct device_attribute *attr, const char *buf, size_t n)
{
	struct gpu *g = gpu_of(dev);
	u32 id;
	int i, ret;

	ret = kstrtou32(buf, 10, &id);
	if (ret)
		return ret;
	for (i = 0; i < N_TYPES && type_table[i].id != id; i++)
		;
	if (id && i == N_TYPES)
		return -EINVAL;
	mutex_lock(&g->lock);
	if (!id) {
		vgpu_destroy(g);
	} else if (g->vgpu_type) {
		ret = -EBUSY;
	} else {
		ret = vgpu_create(g);
		if (!ret)
			g->vgpu_type = id;
	}
	mutex_unlock(&g->lock);
	return ret ? ret : n;
}
static DEVICE_ATTR_RW(current_vgpu_type);

static struct attribute *vgpu_attrs[] = {
	&dev_attr_creatable_vgpu_types.attr,
	&dev_attr_current_vgpu_type.attr,
	NULL,
};
static const struct attribute_group vgpu_group = { .name = "nvidia", .attrs = vgpu_attrs };

/* ---- /dev/nvidiaN and /proc/driver/nvidia/gpus/<bdf> ---- */

static int node_open(struct inode *inode, struct file *file)
{
	struct gpu *g = container_of(file->private_data, struct gpu, misc);
	int ret = 0;

	mutex_lock(&g->lock);
	if (g->unbind_lock || g->removing)
		ret = -EBUSY;
	else
		g->users++;
	mutex_unlock(&g->lock);
	return ret;
}

static int node_release(struct inode *inode, struct file *file)
{
	struct gpu *g = container_of(file->private_data, struct gpu, misc);

	mutex_lock(&g->lock);
	g->users--;
	mutex_unlock(&g->lock);
	return 0;
}

static const struct file_operations node_fops = {
	.owner = THIS_MODULE,
	.open = node_open,
	.release = node_release,
};

static int information_show(struct seq_file *s, void *unused)
{
	struct gpu *g = s->private;

	seq_printf(s, "Model: \t\t NVIDIA L40S\nBus Type: \t PCIe\nBus Location: \t %s\nDevice Minor: \t %d\n", pci_name(g->pci),
		   g->minor);
	return 0;
}

static int unbind_lock_show(struct seq_file *s, void *unused)
{
	struct gpu *g = s->private;

	seq_printf(s, "%d\n", g->unbind_lock);
	return 0;
}

static int unbind_lock_open(struct inode *inode, struct file *file)
{
	return single_open(file, unbind_lock_show, pde_data(inode));
}

static ssize_t unbind_lock_write(struct file *file, const char __user *user, size_t n, loff_t *at)
{
	struct gpu *g = pde_data(file_inode(file));
	char c;

	if (!n)
		return -EINVAL;
	if (get_user(c, user))
		return -EFAULT;
	mutex_lock(&g->lock);
	if (c == '0')
		g->unbind_lock = false;
	else if (!g->users || lying_lock)
		g->unbind_lock = true;
	mutex_unlock(&g->lock);
	return n; /* success either way: only reading it back tells */
}

static const struct proc_ops unbind_lock_ops = {
	.proc_open = unbind_lock_open,
	.proc_read = seq_read,
	.proc_write = unbind_lock_write,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
};

static int node_create(struct gpu *g)
{
	int ret;

	mutex_lock(&minors_lock);
	for (g->minor = 0; g->minor < MAX_MINORS && minors[g->minor]; g->minor++)
		;
	if (g->minor < MAX_MINORS)
		minors[g->minor] = true;
	mutex_unlock(&minors_lock);
	if (g->minor == MAX_MINORS)
		return -ENOSPC;
	snprintf(g->node, sizeof(g->node), "nvidia%d", g->minor);
	g->misc = (struct miscdevice){ .minor = MISC_DYNAMIC_MINOR, .name = g->node, .fops = &node_fops, .mode = 0666 };
	ret = misc_register(&g->misc);
	if (ret) {
		minors[g->minor] = false;
		return ret;
	}
	g->proc = proc_mkdir(pci_name(g->pci), proc_gpus);
	if (g->proc) {
		proc_create_single_data("information", 0444, g->proc, information_show, g);
		proc_create_data("unbindLock", 0644, g->proc, &unbind_lock_ops, g);
	}
	return 0;
}

static void node_destroy(struct gpu *g)
{
	proc_remove(g->proc);
	misc_deregister(&g->misc);
	minors[g->minor] = false;
}

/* The real driver's remove: no new client, and wait for the old ones without a signal or an end. */
static void node_wait_unused(struct gpu *g)
{
	unsigned int users;

	do {
		mutex_lock(&g->lock);
		g->removing = true;
		users = g->users;
		mutex_unlock(&g->lock);
		if (users)
			msleep(50);
	} while (users);
}

/* ---- the PCI driver ---- */

static int nv_probe(struct pci_dev *pci, const struct pci_device_id *id)
{
	struct gpu *g;
	int i, ret = 0;

	if (fail_probe)
		return -fail_probe;
	g = kzalloc(sizeof(*g), GFP_KERNEL);
	if (!g)
		return -ENOMEM;
	g->pci = pci;
	g->minor = -1;
	g->fb_left = TOTAL_FB;
	mutex_init(&g->lock);
	for (i = 0; i < N_TYPES; i++) {
		g->types[i] = type_table[i];
		g->type_list[i] = &g->types[i].mdev;
	}
	pci_set_drvdata(pci, g);
	if (!pci->is_virtfn)
		ret = node_create(g);
	if (ret)
		goto free;
	if (mdev_on_pf || (mdev && (pci->is_virtfn || !pci_sriov_get_totalvfs(pci)))) {
		ret = mdev_register_parent(&g->parent, &pci->dev, &mdev_driver, g->type_list, N_TYPES);
		g->is_parent = !ret;
	} else if (vendor_vfio && pci->is_virtfn) {
		ret = sysfs_create_group(&pci->dev.kobj, &vgpu_group);
		g->has_vgpu_files = !ret;
	}
	if (!ret)
		return 0;
	if (g->minor >= 0)
		node_destroy(g);
free:
	kfree(g);
	return ret;
}

static void nv_remove(struct pci_dev *pci)
{
	struct gpu *g = pci_get_drvdata(pci);

	if (g->minor >= 0)
		node_wait_unused(g);
	if (slow_remove_ms)
		msleep(slow_remove_ms);
	while (g->minor >= 0 && READ_ONCE(hold_remove) == g->minor)
		msleep(20);
	if (pci->is_physfn)
		pci_disable_sriov(pci);
	if (g->is_parent)
		mdev_unregister_parent(&g->parent);
	if (g->has_vgpu_files) {
		sysfs_remove_group(&pci->dev.kobj, &vgpu_group);
		vgpu_destroy(g);
	}
	if (g->minor >= 0)
		node_destroy(g);
	kfree(g);
}

static const struct pci_device_id nv_ids[] = {
	{ PCI_DEVICE(0x10de, PCI_ANY_ID), .class = PCI_BASE_CLASS_DISPLAY << 16, .class_mask = 0xff0000 },
	{ }
};
MODULE_DEVICE_TABLE(pci, nv_ids);

static struct pci_driver nv_driver = {
	.name = "nvidia",
	.id_table = nv_ids,
	.probe = nv_probe,
	.remove = nv_remove,
	.sriov_configure = pci_sriov_configure_simple,
};

static int __init nv_init(void)
{
	int ret;

	/* A VF that stays on this driver and is a VFIO device must not use its group's DMA itself. */
	nv_driver.driver_managed_dma = vendor_vfio;
	proc_driver = proc_mkdir("driver/nvidia", NULL);
	proc_gpus = proc_driver ? proc_mkdir("gpus", proc_driver) : NULL;
	if (!proc_gpus)
		return -ENOMEM;
	ret = mdev_register_driver(&mdev_driver);
	if (ret)
		goto no_mdev;
	ret = pci_register_driver(&nv_driver);
	if (!ret)
		return 0;
	mdev_unregister_driver(&mdev_driver);
no_mdev:
	proc_remove(proc_driver);
	return ret;
}

static void __exit nv_exit(void)
{
	pci_unregister_driver(&nv_driver);
	mdev_unregister_driver(&mdev_driver);
	proc_remove(proc_driver);
}

module_init(nv_init);
module_exit(nv_exit);
MODULE_DESCRIPTION("Stand-in for NVIDIA's host driver, for tests");
MODULE_LICENSE("GPL");
